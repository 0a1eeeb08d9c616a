package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Server;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs.Ids;

import java.util.Arrays;
import java.util.Collections;

/** A connect string with a path: everything happens below it and is told without it. */
public final class ChrootChecks {
    @Check
    public void pathsAreSeenWithoutTheChroot() throws Exception {
        try (Client outside = Client.open()) {
            String chroot = outside.create(outside.root() + "/base");
            try (Client inside = Client.open(Server.CONNECT + chroot)) {
                Expect.equal("/n", inside.create("/n"), "name");
                Expect.equal(
                        "/s0000000001",
                        inside.create("/s", CreateMode.EPHEMERAL_SEQUENTIAL),
                        "name");
                Expect.equal(
                        bytes("data"),
                        outside.zk.getData(chroot + "/n", false, null),
                        "data from outside");
                Expect.equal(
                        2, inside.zk.getChildren("/", false).size(), "children of the inner root");
                Expect.equal(
                        Collections.emptyList(), inside.zk.getChildren("/n", false), "children");
                OpResult made =
                        inside.zk
                                .multi(
                                        Arrays.asList(
                                                Op.create(
                                                        "/m",
                                                        null,
                                                        Ids.OPEN_ACL_UNSAFE,
                                                        CreateMode.PERSISTENT)))
                                .get(0);
                // The clients do not take the chroot off names in the results of a multi.
                Expect.equal(
                        chroot + "/m",
                        ((OpResult.CreateResult) made).getPath(),
                        "name from a multi");
                refused(Code.NODEEXISTS, () -> inside.create("/n"));
                refused(Code.NONODE, () -> inside.zk.getData(chroot, false, null));
            }
            Expect.that(
                    !outside.exists(chroot + "/s0000000001"),
                    "ephemeral below the chroot outlived its session");
        }
    }

    @Check
    public void eventsAreToldWithoutTheChroot() throws Exception {
        try (Client outside = Client.open()) {
            String chroot = outside.create(outside.root() + "/base");
            try (Client inside = Client.open(Server.CONNECT + chroot)) {
                Events events = new Events();
                inside.zk.exists("/n", events);
                inside.zk.getChildren("/", events);
                outside.create(chroot + "/n");
                events.next(EventType.NodeCreated, "/n");
                events.next(EventType.NodeChildrenChanged, "/");
            }
        }
    }

    @Check
    public void aMissingChrootCanBeMade() throws Exception {
        try (Client outside = Client.open()) {
            String chroot = outside.root() + "/base";
            try (Client inside = Client.open(Server.CONNECT + chroot)) {
                Expect.equal(null, inside.zk.exists("/", false), "Stat of the missing chroot");
                refused(Code.NONODE, () -> inside.create("/n"));
                // What is left of the chroot's name when the clients take the chroot off.
                Expect.equal("", inside.create("/"), "name of the chroot seen from inside");
                Expect.equal("/n", inside.create("/n"), "name");
            }
            Expect.that(outside.exists(chroot + "/n"), "node is missing outside");
        }
    }
}

package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Stat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The questions clients after 3.5 can ask. */
public final class QueryChecks {
    @Check
    public void ephemeralsOfThisSession() throws Exception {
        try (Client client = Client.open();
                Client other = Client.open()) {
            String root = client.root();
            client.create(root + "/a");
            client.create(root + "/a/e1", CreateMode.EPHEMERAL);
            client.create(root + "/a/e2", CreateMode.EPHEMERAL);
            client.create(root + "/b", CreateMode.EPHEMERAL);
            client.create(root + "/box", CreateMode.CONTAINER);
            other.create(root + "/a/theirs", CreateMode.EPHEMERAL);
            Expect.equal(
                    List.of(root + "/a/e1", root + "/a/e2", root + "/b"),
                    sorted(client.zk.getEphemerals()),
                    "all");
            Expect.equal(
                    List.of(root + "/a/e1", root + "/a/e2"),
                    sorted(client.zk.getEphemerals(root + "/a")),
                    "below a");
            Expect.equal(
                    List.of(root + "/a/e1"),
                    sorted(client.zk.getEphemerals(root + "/a/e1")),
                    "one");
            Expect.equal(List.of(), client.zk.getEphemerals(root + "/c"), "none");
            client.zk.delete(root + "/b", -1);
            Expect.equal(
                    List.of(root + "/a/e1", root + "/a/e2"),
                    sorted(client.zk.getEphemerals("/")),
                    "after a delete");
            Expect.equal(
                    List.of(root + "/a/theirs"), other.zk.getEphemerals(), "of the other session");
        }
    }

    private static List<String> sorted(List<String> list) {
        List<String> copy = new ArrayList<>(list);
        Collections.sort(copy);
        return copy;
    }

    @Check
    public void numberOfAllDescendants() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            Expect.equal(0, client.zk.getAllChildrenNumber(root), "of a leaf");
            for (String node : List.of("/a", "/a/b", "/a/b/c", "/d", "/ab")) {
                client.create(root + node);
            }
            Expect.equal(5, client.zk.getAllChildrenNumber(root), "of the root");
            Expect.equal(
                    2,
                    client.zk.getAllChildrenNumber(root + "/a"),
                    "of a, whose name begins another's");
            refused(Code.NONODE, () -> client.zk.getAllChildrenNumber(root + "/missing"));
            client.create(root + "/w", Arrays.asList(new ACL(Perms.WRITE, Ids.ANYONE_ID_UNSAFE)));
            refused(Code.NOAUTH, () -> client.zk.getAllChildrenNumber(root + "/w"));
            client.zk.delete(root + "/w", -1);
        }
    }

    @Check
    public void whoAmI() throws Exception {
        try (Client client = Client.open()) {
            Expect.equal(List.of("ip 127.0.0.1"), identities(client), "before any authentication");
            client.zk.addAuthInfo("digest", bytes("alice:secret"));
            client.zk.addAuthInfo("digest", bytes("bob:secret"));
            Expect.equal(
                    List.of("digest alice", "digest bob", "ip 127.0.0.1"),
                    identities(client),
                    "after it");
        }
    }

    private static List<String> identities(Client client) throws Exception {
        List<String> lines = new ArrayList<>();
        for (ClientInfo info : client.zk.whoAmI()) {
            lines.add(info.getAuthScheme() + " " + info.getUser());
        }
        return sorted(lines);
    }

    @Check
    public void manyReadsInOneRequest() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            client.create(root + "/a");
            client.create(root + "/a/c");
            List<OpResult> results =
                    client.zk.multi(
                            Arrays.asList(
                                    Op.getChildren(root + "/a"),
                                    Op.getData(root + "/missing"),
                                    Op.getData(root + "/a"),
                                    Op.getChildren(root + "/missing")));
            Expect.equal(
                    List.of("c"),
                    ((OpResult.GetChildrenResult) results.get(0)).getChildren(),
                    "children");
            Expect.equal(
                    -101,
                    ((OpResult.ErrorResult) results.get(1)).getErr(),
                    "error of the second read");
            Expect.equal(
                    bytes("data"), ((OpResult.GetDataResult) results.get(2)).getData(), "data");
            Expect.equal(
                    client.zk.exists(root + "/a", false),
                    ((OpResult.GetDataResult) results.get(2)).getStat(),
                    "Stat");
            Expect.equal(
                    -101,
                    ((OpResult.ErrorResult) results.get(3)).getErr(),
                    "error of the fourth read");
        }
    }

    @Check
    public void multiTellsTheStatOfWhatItMade() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            // Containers are answered with a Stat; it shows the node as it was right then.
            List<OpResult> results =
                    client.zk.multi(
                            Arrays.asList(
                                    Op.create(
                                            root + "/box",
                                            bytes("12"),
                                            Ids.OPEN_ACL_UNSAFE,
                                            CreateMode.CONTAINER),
                                    Op.create(
                                            root + "/box/c",
                                            null,
                                            Ids.OPEN_ACL_UNSAFE,
                                            CreateMode.PERSISTENT)));
            Stat made = ((OpResult.CreateResult) results.get(0)).getStat();
            Stat now = client.zk.exists(root + "/box", false);
            Expect.equal(
                    "2 0",
                    made.getDataLength() + " " + made.getNumChildren(),
                    "length and children in the result");
            Expect.equal(now.getCzxid(), made.getCzxid(), "czxid in the result");
            Expect.equal(1, now.getNumChildren(), "children in the end");
        }
    }

    @Check
    public void syncWaits() throws Exception {
        try (Client client = Client.open();
                Client other = Client.open()) {
            String node = client.create(client.root() + "/n");
            for (int version = 1; version <= 50; version++) {
                client.zk.setData(node, null, -1);
                other.settle();
                Expect.equal(
                        version, other.zk.exists(node, false).getVersion(), "version after sync");
            }
        }
    }
}

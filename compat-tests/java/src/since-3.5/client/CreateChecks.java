package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Creates of client 3.5: with a Stat in the answer, containers and nodes with a time to live. */
public final class CreateChecks {
    /** The server looks for nodes to reap once a minute. */
    private static final long REAP_MILLIS = 60_000;

    private static final long REAP_SLACK_MILLIS = 15_000;
    private static final long TTL_MILLIS = 1_500;

    @Check
    public void createTellsTheStat() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            for (CreateMode mode :
                    Arrays.asList(
                            CreateMode.PERSISTENT,
                            CreateMode.EPHEMERAL,
                            CreateMode.PERSISTENT_SEQUENTIAL,
                            CreateMode.EPHEMERAL_SEQUENTIAL,
                            CreateMode.CONTAINER)) {
                Stat stat = new Stat();
                String path =
                        client.zk.create(
                                root + "/" + mode.name(),
                                bytes("12345"),
                                Ids.OPEN_ACL_UNSAFE,
                                mode,
                                stat);
                Expect.equal(client.zk.exists(path, false), stat, "Stat of " + mode);
                Expect.equal(5, stat.getDataLength(), "length of " + mode);
                Expect.equal(
                        mode.isEphemeral() ? client.zk.getSessionId() : 0L,
                        stat.getEphemeralOwner(),
                        "owner of " + mode);
            }
        }
    }

    @Check
    public void timeToLiveMustBeSensible() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            Stat stat = new Stat();
            Expect.equal(
                    root + "/t",
                    ttlNode(client, root + "/t", CreateMode.PERSISTENT_WITH_TTL, stat, 60_000),
                    "name");
            Expect.equal(client.zk.exists(root + "/t", false), stat, "Stat");
            Expect.equal(0L, stat.getEphemeralOwner(), "owner");
            Expect.equal(
                    root + "/t0000000001",
                    ttlNode(
                            client,
                            root + "/t",
                            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
                            stat,
                            60_000),
                    "name");
            client.create(root + "/t/child");
            ttlNode(
                    client,
                    root + "/longest",
                    CreateMode.PERSISTENT_WITH_TTL,
                    stat,
                    (1L << 40) - 1);
            // Client 3.5 checks the bounds itself and throws its own error; what it lets through
            // the server checks.
            for (long bad : new long[] {0, 1L << 40}) {
                try {
                    ttlNode(client, root + "/bad", CreateMode.PERSISTENT_WITH_TTL, stat, bad);
                    throw new AssertionError("ttl " + bad + " was taken");
                } catch (IllegalArgumentException
                        | org.apache.zookeeper.KeeperException.BadArgumentsException e) {
                    Expect.that(!client.exists(root + "/bad"), "ttl " + bad + " left a node");
                }
            }
        }
    }

    private static String ttlNode(
            Client client, String path, CreateMode mode, Stat stat, long ttlMillis)
            throws Exception {
        return client.zk.create(path, bytes("data"), Ids.OPEN_ACL_UNSAFE, mode, stat, ttlMillis);
    }

    @Check
    public void containersTakeChildren() throws Exception {
        try (Client client = Client.open()) {
            String box = client.create(client.root() + "/box", CreateMode.CONTAINER);
            client.create(box + "/a");
            client.create(box + "/b", CreateMode.EPHEMERAL);
            Expect.equal(2, client.zk.exists(box, false).getNumChildren(), "children");
            refused(Code.NOTEMPTY, () -> client.zk.delete(box, -1));
        }
    }

    @Check
    public void multiMakesContainersAndTtlNodes() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<OpResult> results =
                    client.zk.multi(
                            Arrays.asList(
                                    Op.create(
                                            root + "/box",
                                            null,
                                            Ids.OPEN_ACL_UNSAFE,
                                            CreateMode.CONTAINER),
                                    Op.create(
                                            root + "/ttl",
                                            null,
                                            Ids.OPEN_ACL_UNSAFE,
                                            CreateMode.PERSISTENT_WITH_TTL,
                                            60_000),
                                    Op.create(
                                            root + "/box/child",
                                            null,
                                            Ids.OPEN_ACL_UNSAFE,
                                            CreateMode.PERSISTENT)));
            Expect.equal(root + "/box", ((OpResult.CreateResult) results.get(0)).getPath(), "path");
            Expect.equal(root + "/ttl", ((OpResult.CreateResult) results.get(1)).getPath(), "path");
            Expect.equal(
                    root + "/box/child",
                    ((OpResult.CreateResult) results.get(2)).getPath(),
                    "path");
        }
    }

    /**
     * A container goes when its last child has gone, not while it has one, and not before it ever
     * had one.
     */
    @Check(waits = true, limitSeconds = 180)
    public void emptyContainersAreReaped() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            String used = client.create(root + "/used", CreateMode.CONTAINER);
            client.create(used + "/child");
            client.zk.delete(used + "/child", -1);
            String busy = client.create(root + "/busy", CreateMode.CONTAINER);
            client.create(busy + "/child");
            String fresh = client.create(root + "/fresh", CreateMode.CONTAINER);
            Events events = new Events();
            if (client.zk.exists(used, events) != null) {
                events.next(EventType.NodeDeleted, used, REAP_MILLIS + REAP_SLACK_MILLIS);
            }
            Expect.that(client.exists(busy + "/child"), "a container with a child was reaped");
            Expect.that(client.exists(fresh), "a container that never had a child was reaped");
        }
    }

    /**
     * A node goes when nothing was set for its time to live, not before, and not while it has
     * children.
     */
    @Check(waits = true, limitSeconds = 180)
    public void nodesOutliveTheirTtlOnlyWithChildren() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            String parent =
                    ttlNode(
                            client,
                            root + "/parent",
                            CreateMode.PERSISTENT_WITH_TTL,
                            new Stat(),
                            TTL_MILLIS);
            client.create(parent + "/child");
            String longer =
                    ttlNode(
                            client,
                            root + "/longer",
                            CreateMode.PERSISTENT_WITH_TTL,
                            new Stat(),
                            10 * REAP_MILLIS);
            long before = System.nanoTime();
            String mortal =
                    ttlNode(
                            client,
                            root + "/mortal",
                            CreateMode.PERSISTENT_WITH_TTL,
                            new Stat(),
                            TTL_MILLIS);
            Events events = new Events();
            Expect.that(client.zk.exists(mortal, events) != null, "gone at once");
            events.next(
                    EventType.NodeDeleted, mortal, TTL_MILLIS + REAP_MILLIS + REAP_SLACK_MILLIS);
            long livedMillis = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - before);
            Expect.that(
                    livedMillis >= TTL_MILLIS,
                    "gone after " + livedMillis + " ms, the ttl is " + TTL_MILLIS);
            Expect.equal(
                    Collections.singletonList("child"),
                    client.zk.getChildren(parent, false),
                    "children of the expired parent");
            Expect.that(client.exists(longer), "a node was reaped before its ttl");
        }
    }
}

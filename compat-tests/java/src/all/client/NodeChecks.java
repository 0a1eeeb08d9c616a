package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Server;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;

/** Nodes: modes, names, data, every Stat field, versions and the errors of each call. */
public final class NodeChecks {
    /** {@code jute.maxbuffer} of an unconfigured server: the longest frame it takes. */
    private static final int FRAME_BYTES_MAX = 0xfffff;

    @Check
    public void fourModesAndTheirOwners() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            long session = client.zk.getSessionId();
            Expect.equal(root + "/p", client.create(root + "/p", CreateMode.PERSISTENT), "name");
            Expect.equal(root + "/e", client.create(root + "/e", CreateMode.EPHEMERAL), "name");
            Expect.equal(
                    root + "/s0000000002",
                    client.create(root + "/s", CreateMode.PERSISTENT_SEQUENTIAL),
                    "name");
            Expect.equal(
                    root + "/t0000000003",
                    client.create(root + "/t", CreateMode.EPHEMERAL_SEQUENTIAL),
                    "name");
            Expect.equal(
                    0L, client.zk.exists(root + "/p", false).getEphemeralOwner(), "owner of p");
            Expect.equal(
                    session,
                    client.zk.exists(root + "/e", false).getEphemeralOwner(),
                    "owner of e");
            Expect.equal(
                    0L,
                    client.zk.exists(root + "/s0000000002", false).getEphemeralOwner(),
                    "owner of s");
            Expect.equal(
                    session,
                    client.zk.exists(root + "/t0000000003", false).getEphemeralOwner(),
                    "owner of t");
        }
    }

    @Check
    public void sequenceCountsEveryCreateAndNeverGoesBack() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            Expect.equal(
                    root + "/a0000000000",
                    client.create(root + "/a", CreateMode.PERSISTENT_SEQUENTIAL),
                    "first");
            client.create(root + "/plain");
            Expect.equal(
                    root + "/a0000000002",
                    client.create(root + "/a", CreateMode.PERSISTENT_SEQUENTIAL),
                    "after a plain one");
            client.zk.delete(root + "/a0000000002", -1);
            client.zk.delete(root + "/plain", -1);
            Expect.equal(
                    root + "/b0000000003",
                    client.create(root + "/b", CreateMode.PERSISTENT_SEQUENTIAL),
                    "after deletes");
            Expect.equal(
                    root + "/0000000004",
                    client.create(root + "/", CreateMode.PERSISTENT_SEQUENTIAL),
                    "without a prefix");
            refused(Code.NODEEXISTS, () -> client.create(root + "/b0000000003"));
            Expect.equal(
                    root + "/b0000000005",
                    client.create(root + "/b", CreateMode.PERSISTENT_SEQUENTIAL),
                    "a failed create takes no number");
        }
    }

    @Check
    public void statFieldsOfOneNode() throws Exception {
        try (Client client = Client.open()) {
            String node = client.root() + "/n";
            long before = System.currentTimeMillis();
            client.zk.create(node, bytes("12345"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Stat made = client.zk.exists(node, false);
            long after = System.currentTimeMillis();
            Expect.that(made.getCzxid() > 0, "czxid " + made.getCzxid());
            Expect.equal(made.getCzxid(), made.getMzxid(), "mzxid of a new node");
            Expect.equal(made.getCzxid(), made.getPzxid(), "pzxid of a new node");
            Expect.equal(made.getCtime(), made.getMtime(), "mtime of a new node");
            Expect.that(
                    before <= made.getCtime() && made.getCtime() <= after,
                    "ctime " + made.getCtime() + " in " + before + ".." + after);
            Expect.equal("0 0 0 0 5 0", counters(made), "counters of a new node");

            Stat set = client.zk.setData(node, bytes("abc"), 0);
            Expect.equal("1 0 0 0 3 0", counters(set), "counters after setData");
            Expect.equal(made.getCzxid(), set.getCzxid(), "czxid stays");
            Expect.equal(made.getPzxid(), set.getPzxid(), "pzxid stays");
            Expect.equal(made.getCtime(), set.getCtime(), "ctime stays");
            Expect.that(set.getMzxid() > made.getMzxid(), "mzxid moves");
            Expect.that(set.getMtime() >= made.getMtime(), "mtime moves");

            Stat acl = client.zk.setACL(node, Ids.OPEN_ACL_UNSAFE, 0);
            Expect.equal("1 0 1 0 3 0", counters(acl), "counters after setACL");
            Expect.equal(set.getMzxid(), acl.getMzxid(), "mzxid stays over setACL");

            client.create(node + "/c1");
            client.create(node + "/c2");
            Stat twoChildren = client.zk.exists(node, false);
            Expect.equal("1 2 1 0 3 2", counters(twoChildren), "counters with two children");
            Expect.equal(
                    client.zk.exists(node + "/c2", false).getCzxid(),
                    twoChildren.getPzxid(),
                    "pzxid is the last child's zxid");
            Expect.equal(set.getMzxid(), twoChildren.getMzxid(), "mzxid stays over children");

            client.create(node + "/c1/grandchild");
            client.zk.setData(node + "/c2", null, -1);
            Expect.equal(
                    twoChildren, client.zk.exists(node, false), "deeper changes leave the Stat");

            client.zk.delete(node + "/c2", 1);
            Stat oneChild = client.zk.exists(node, false);
            Expect.equal("1 3 1 0 3 1", counters(oneChild), "counters after a child's delete");
            Expect.that(
                    oneChild.getPzxid() > twoChildren.getPzxid(),
                    "pzxid moves at a child's delete");

            Stat read = new Stat();
            client.zk.getData(node, false, read);
            Expect.equal(oneChild, read, "Stat of getData");
            client.zk.getACL(node, read = new Stat());
            Expect.equal(oneChild, read, "Stat of getACL");
            client.zk.getChildren(node, false, read = new Stat());
            Expect.equal(oneChild, read, "Stat of getChildren");
        }
    }

    /** version cversion aversion ephemeralOwner dataLength numChildren. */
    private static String counters(Stat stat) {
        return stat.getVersion()
                + " "
                + stat.getCversion()
                + " "
                + stat.getAversion()
                + " "
                + stat.getEphemeralOwner()
                + " "
                + stat.getDataLength()
                + " "
                + stat.getNumChildren();
    }

    @Check
    public void versionsGuardChanges() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/n");
            refused(Code.BADVERSION, () -> client.zk.setData(node, bytes("x"), 1));
            Expect.equal(1, client.zk.setData(node, bytes("x"), 0).getVersion(), "version");
            refused(Code.BADVERSION, () -> client.zk.setData(node, bytes("y"), 0));
            Expect.equal(
                    2, client.zk.setData(node, bytes("y"), -1).getVersion(), "version after any");
            refused(Code.BADVERSION, () -> client.zk.setACL(node, Ids.READ_ACL_UNSAFE, 2));
            refused(Code.BADVERSION, () -> client.zk.delete(node, 1));
            Expect.equal(
                    "y", new String(client.zk.getData(node, false, null)), "data after refusals");
            client.zk.delete(node, 2);
            Expect.equal(null, client.zk.exists(node, false), "Stat of a deleted node");
        }
    }

    @Check
    public void errorsOfEachCall() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            String missing = root + "/missing";
            refused(Code.NONODE, () -> client.zk.getData(missing, false, null));
            refused(Code.NONODE, () -> client.zk.getChildren(missing, false));
            refused(Code.NONODE, () -> client.zk.getACL(missing, new Stat()));
            refused(Code.NONODE, () -> client.zk.setData(missing, null, -1));
            refused(Code.NONODE, () -> client.zk.setACL(missing, Ids.OPEN_ACL_UNSAFE, -1));
            refused(Code.NONODE, () -> client.zk.delete(missing, -1));
            refused(Code.NONODE, () -> client.create(missing + "/child"));
            refused(Code.NODEEXISTS, () -> client.create(root));
            refused(Code.NODEEXISTS, () -> client.create("/"));
            refused(Code.BADARGUMENTS, () -> client.zk.delete("/", -1));
            refused(Code.BADARGUMENTS, () -> client.zk.delete("/zookeeper", -1));
            client.create(root + "/parent");
            client.create(root + "/parent/child");
            refused(Code.NOTEMPTY, () -> client.zk.delete(root + "/parent", 0));
            refused(Code.BADVERSION, () -> client.zk.delete(root + "/parent", 7));
            client.create(root + "/e", CreateMode.EPHEMERAL);
            refused(Code.NOCHILDRENFOREPHEMERALS, () -> client.create(root + "/e/child"));
            Expect.equal(
                    Collections.emptyList(),
                    client.zk.getChildren(root + "/e", false),
                    "children of an ephemeral");
        }
    }

    @Check
    public void childrenAreListedByName() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<String> names =
                    Arrays.asList(
                            "a", "b b", "..dots", "\u00fcml\u00e4ut", "\u4e16\u754c", "x.y-z_0");
            for (String name : names) {
                client.zk.create(
                        root + "/" + name, bytes(name), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            }
            List<String> got = new ArrayList<>(client.zk.getChildren(root, false));
            Collections.sort(got);
            List<String> wanted = new ArrayList<>(names);
            Collections.sort(wanted);
            Expect.equal(wanted, got, "children");
            for (String name : names) {
                Expect.equal(
                        bytes(name),
                        client.zk.getData(root + "/" + name, false, null),
                        "data of " + name);
            }
        }
    }

    @Check
    public void nullDataIsNotEmptyData() throws Exception {
        try (Client client = Client.open()) {
            String node = client.root() + "/n";
            client.zk.create(node, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Stat stat = new Stat();
            Expect.equal(null, client.zk.getData(node, false, stat), "null data");
            Expect.equal(0, stat.getDataLength(), "length of null data");
            client.zk.setData(node, new byte[0], -1);
            Expect.equal(new byte[0], client.zk.getData(node, false, stat), "empty data");
            Expect.equal(0, stat.getDataLength(), "length of empty data");
            client.zk.setData(node, null, -1);
            Expect.equal(null, client.zk.getData(node, false, stat), "null data again");
            client.zk.create(
                    node + "/empty", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Expect.equal(
                    new byte[0], client.zk.getData(node + "/empty", false, stat), "created empty");
        }
    }

    @Check
    public void largeDataUpToTheFrameLimit() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/large");
            byte[] large = new byte[1_000_000];
            new Random(7).nextBytes(large);
            Expect.equal(
                    large.length, client.zk.setData(node, large, 0).getDataLength(), "dataLength");
            Expect.equal(large, client.zk.getData(node, false, null), "large data");

            // A setData frame: header 8, path length 4 + path, data length 4 + data, version 4.
            int overhead = 8 + 4 + node.length() + 4 + 4;
            Stat full = client.zk.setData(node, new byte[FRAME_BYTES_MAX - overhead], 1);
            Expect.equal(
                    FRAME_BYTES_MAX - overhead, full.getDataLength(), "the longest frame is taken");

            refused(
                    Code.CONNECTIONLOSS,
                    () -> client.zk.setData(node, new byte[FRAME_BYTES_MAX - overhead + 1], -1));
            client.awaitConnected();
            Expect.equal(
                    full, client.zk.exists(node, false), "Stat after a frame that was too long");
            client.zk.setData(node, large, 2);
            Expect.equal(
                    large,
                    client.zk.getData(node, false, null),
                    "data after a frame that was too long");
        }
    }

    @Check
    public void ephemeralsGoWithTheirSession() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<String> paths = new ArrayList<>();
            try (Client owner = Client.open()) {
                for (int i = 0; i < 50; i++) {
                    paths.add(owner.create(root + "/e", CreateMode.EPHEMERAL_SEQUENTIAL));
                }
                owner.create(root + "/stays");
                Expect.equal(
                        51,
                        client.zk.exists(root, false).getNumChildren(),
                        "children while the session lives");
            }
            // The close was answered, so it is done: no polling.
            client.settle();
            Expect.equal(
                    Collections.singletonList("stays"),
                    client.zk.getChildren(root, false),
                    "children after the close");
            Expect.equal(
                    51 + 50,
                    client.zk.exists(root, false).getCversion(),
                    "cversion after the close");
        }
    }

    @Check
    public void syncEchoesItsPath() throws Exception {
        try (Client client = Client.open()) {
            List<String> answers = Collections.synchronizedList(new ArrayList<>());
            client.zk.sync(
                    "/",
                    (code, path, context) -> answers.add(code + " " + path + " " + context),
                    "one");
            client.zk.sync(
                    "/no/such/node",
                    (code, path, context) -> answers.add(code + " " + path + " " + context),
                    "two");
            Expect.becomes(
                    Server.LONG_SESSION_MILLIS,
                    Arrays.asList("0 / one", "0 /no/such/node two"),
                    "answers",
                    () -> new ArrayList<>(answers));
        }
    }
}

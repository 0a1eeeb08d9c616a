package client;

import static client.Client.bytes;

import compat.Check;
import compat.Expect;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Transactions: all or nothing, each operation seeing the ones before it. */
public final class MultiChecks {
    private static Op create(String path, CreateMode mode) {
        return Op.create(path, bytes("data"), Ids.OPEN_ACL_UNSAFE, mode);
    }

    @Check
    public void allOperationsCommitUnderOneZxid() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            client.create(root + "/old");
            List<OpResult> results =
                    client.zk.multi(
                            Arrays.asList(
                                    Op.check(root + "/old", 0),
                                    create(root + "/a", CreateMode.PERSISTENT),
                                    create(root + "/a/s", CreateMode.PERSISTENT_SEQUENTIAL),
                                    create(root + "/a/s", CreateMode.EPHEMERAL_SEQUENTIAL),
                                    Op.setData(root + "/a", bytes("changed"), 0),
                                    Op.check(root + "/a", 1),
                                    Op.delete(root + "/old", 0)));
            Expect.equal(7, results.size(), "results");
            Expect.equal(root + "/a", ((OpResult.CreateResult) results.get(1)).getPath(), "path");
            Expect.equal(
                    root + "/a/s0000000000",
                    ((OpResult.CreateResult) results.get(2)).getPath(),
                    "path");
            Expect.equal(
                    root + "/a/s0000000001",
                    ((OpResult.CreateResult) results.get(3)).getPath(),
                    "path");
            Stat set = ((OpResult.SetDataResult) results.get(4)).getStat();
            Expect.equal(1, set.getVersion(), "version in the result");
            Stat now = client.zk.exists(root + "/a", false);
            Expect.equal(now.getCzxid(), now.getMzxid(), "zxid of create and setData");
            Expect.equal(now.getCzxid(), now.getPzxid(), "zxid of the child");
            Expect.equal(2, now.getNumChildren(), "children");
            Expect.equal(
                    "changed", new String(client.zk.getData(root + "/a", false, null)), "data");
            Expect.equal(
                    client.zk.getSessionId(),
                    client.zk.exists(root + "/a/s0000000001", false).getEphemeralOwner(),
                    "owner");
            Expect.that(!client.exists(root + "/old"), "deleted node is there");
        }
    }

    @Check
    public void oneFailureUndoesAllAndIsToldByPosition() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            client.create(root + "/old");
            Stat before = client.zk.exists(root, false);
            Events events = new Events();
            client.zk.exists(root + "/a", events);
            client.zk.getChildren(root, events);
            expectCodes(
                    client,
                    Code.BADVERSION,
                    Arrays.asList(0, 0, -103, -2, -2),
                    create(root + "/a", CreateMode.PERSISTENT),
                    Op.setData(root + "/old", bytes("x"), 0),
                    Op.check(root + "/old", 5),
                    create(root + "/b", CreateMode.PERSISTENT),
                    Op.delete(root + "/missing", -1));
            client.settle();
            events.none();
            Expect.equal(before, client.zk.exists(root, false), "Stat of the parent");
            Expect.equal("data", new String(client.zk.getData(root + "/old", false, null)), "data");
            Expect.equal(
                    root + "/s0000000001",
                    client.create(root + "/s", CreateMode.PERSISTENT_SEQUENTIAL),
                    "no number was used up");
        }
    }

    @Check
    public void eachKindOfFailure() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            client.create(root + "/n");
            client.create(root + "/n/c");
            client.create(root + "/e", CreateMode.EPHEMERAL);
            client.create(
                    root + "/locked",
                    Collections.singletonList(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE)));
            Op fine = create(root + "/fine", CreateMode.PERSISTENT);
            expectCodes(
                    client,
                    Code.NODEEXISTS,
                    Arrays.asList(0, -110),
                    fine,
                    create(root + "/n", CreateMode.PERSISTENT));
            expectCodes(client, Code.NODEEXISTS, Arrays.asList(0, -110), fine, fine);
            expectCodes(
                    client,
                    Code.NONODE,
                    Arrays.asList(-101, -2),
                    Op.delete(root + "/missing", -1),
                    fine);
            expectCodes(
                    client,
                    Code.NONODE,
                    Arrays.asList(-101, -2),
                    Op.check(root + "/missing", -1),
                    fine);
            expectCodes(
                    client,
                    Code.NONODE,
                    Arrays.asList(0, -101),
                    fine,
                    create(root + "/missing/c", CreateMode.PERSISTENT));
            expectCodes(
                    client, Code.NOTEMPTY, Arrays.asList(0, -111), fine, Op.delete(root + "/n", 0));
            expectCodes(
                    client,
                    Code.BADVERSION,
                    Arrays.asList(0, -103),
                    fine,
                    Op.setData(root + "/n", null, 3));
            expectCodes(
                    client,
                    Code.NOAUTH,
                    Arrays.asList(0, -102),
                    fine,
                    Op.setData(root + "/locked", null, -1));
            expectCodes(
                    client,
                    Code.NOCHILDRENFOREPHEMERALS,
                    Arrays.asList(0, -108),
                    fine,
                    create(root + "/e/c", CreateMode.PERSISTENT));
            expectCodes(
                    client,
                    Code.NOCHILDRENFOREPHEMERALS,
                    Arrays.asList(0, -108),
                    create(root + "/e2", CreateMode.EPHEMERAL),
                    create(root + "/e2/c", CreateMode.PERSISTENT));
            Expect.that(!client.exists(root + "/fine"), "a failed multi left its node");
        }
    }

    private static void expectCodes(Client client, Code code, List<Integer> codes, Op... ops)
            throws Exception {
        try {
            client.zk.multi(Arrays.asList(ops));
        } catch (KeeperException e) {
            Expect.equal(code, e.code(), "code of the multi");
            List<Integer> got = new ArrayList<>();
            for (OpResult result : e.getResults()) {
                got.add(((OpResult.ErrorResult) result).getErr());
            }
            Expect.equal(codes, got, "codes by position");
            return;
        }
        throw new AssertionError("the multi succeeded, expected " + code);
    }

    @Check
    public void laterOperationsSeeEarlierOnes() throws Exception {
        try (Client client = Client.open()) {
            String node = client.root() + "/n";
            client.zk.multi(
                    Arrays.asList(
                            create(node, CreateMode.PERSISTENT),
                            create(node + "/c", CreateMode.PERSISTENT),
                            Op.setData(node, null, 0),
                            Op.delete(node + "/c", 0),
                            Op.delete(node, 1)));
            Expect.that(!client.exists(node), "node is there");
            Stat root = client.zk.exists(client.root(), false);
            Expect.equal(
                    "2 0",
                    root.getCversion() + " " + root.getNumChildren(),
                    "cversion and children of the parent");
        }
    }

    @Check
    public void watchesFireOncePerChange() throws Exception {
        try (Client client = Client.open();
                Client watching = Client.open()) {
            String root = client.root();
            client.create(root + "/n");
            Events events = new Events();
            watching.zk.getData(root + "/n", events, null);
            watching.zk.exists(root + "/new", events);
            watching.zk.getChildren(root, events);
            client.zk.multi(
                    Arrays.asList(
                            Op.setData(root + "/n", null, 0),
                            Op.setData(root + "/n", null, 1),
                            create(root + "/new", CreateMode.PERSISTENT),
                            create(root + "/new2", CreateMode.PERSISTENT)));
            events.next(EventType.NodeDataChanged, root + "/n");
            events.next(EventType.NodeCreated, root + "/new");
            events.next(EventType.NodeChildrenChanged, root);
            watching.settle();
            events.none();
        }
    }

    @Check
    public void aThousandOperationsAndNone() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<Op> ops = new ArrayList<>();
            for (int i = 0; i < 1_000; i++) {
                ops.add(create(root + "/s", CreateMode.PERSISTENT_SEQUENTIAL));
            }
            List<OpResult> results = client.zk.multi(ops);
            for (int i = 0; i < ops.size(); i++) {
                Expect.equal(
                        String.format("%s/s%010d", root, i),
                        ((OpResult.CreateResult) results.get(i)).getPath(),
                        "path " + i);
            }
            Expect.equal(1_000, client.zk.exists(root, false).getNumChildren(), "children");
            Expect.equal(
                    Collections.emptyList(),
                    client.zk.multi(Collections.<Op>emptyList()),
                    "results of nothing");
        }
    }

    @Check
    public void theTransactionBuilder() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<OpResult> results =
                    client.zk
                            .transaction()
                            .create(
                                    root + "/a",
                                    bytes("1"),
                                    Ids.OPEN_ACL_UNSAFE,
                                    CreateMode.PERSISTENT)
                            .setData(root + "/a", bytes("2"), 0)
                            .check(root + "/a", 1)
                            .commit();
            Expect.equal(3, results.size(), "results");
            Expect.equal("2", new String(client.zk.getData(root + "/a", false, null)), "data");
        }
    }
}

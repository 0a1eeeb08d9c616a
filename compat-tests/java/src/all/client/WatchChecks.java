package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Proxy;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * One-shot watches: data, existence and children, their order, and their re-arming after a lost
 * connection.
 */
public final class WatchChecks {
    @Check
    public void dataWatchFiresOnce() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events events = new Events();
            watching.zk.getData(node, events, null);
            writing.create(node + "/child");
            writing.zk.delete(node + "/child", -1);
            watching.settle();
            events.none();
            writing.zk.setData(node, bytes("1"), -1);
            writing.zk.setData(node, bytes("2"), -1);
            events.next(EventType.NodeDataChanged, node);
            watching.settle();
            events.none();
            watching.zk.getData(node, events, null);
            writing.zk.delete(node, -1);
            events.next(EventType.NodeDeleted, node);
            watching.settle();
            events.none();
        }
    }

    @Check
    public void existsWatchSeesCreationChangeAndDeletion() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.root() + "/n";
            Events events = new Events();
            Expect.equal(null, watching.zk.exists(node, events), "Stat of a missing node");
            writing.create(node);
            events.next(EventType.NodeCreated, node);
            watching.zk.exists(node, events);
            writing.zk.setData(node, null, -1);
            events.next(EventType.NodeDataChanged, node);
            watching.zk.exists(node, events);
            writing.zk.delete(node, -1);
            events.next(EventType.NodeDeleted, node);
            watching.settle();
            events.none();
        }
    }

    @Check
    public void childWatchSeesNamesNotData() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events events = new Events();
            watching.zk.getChildren(node, events);
            writing.zk.setData(node, null, -1);
            watching.settle();
            events.none();
            writing.create(node + "/c");
            events.next(EventType.NodeChildrenChanged, node);
            watching.zk.getChildren(node, events);
            writing.zk.setData(node + "/c", null, -1);
            writing.create(node + "/c/deep");
            writing.zk.delete(node + "/c/deep", -1);
            watching.settle();
            events.none();
            writing.zk.delete(node + "/c", -1);
            events.next(EventType.NodeChildrenChanged, node);
            watching.zk.getChildren(node, events);
            writing.zk.delete(node, -1);
            events.next(EventType.NodeDeleted, node);
        }
    }

    @Check
    public void readsThatFailArmNothing() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.root() + "/n";
            Events events = new Events();
            refused(Code.NONODE, () -> watching.zk.getData(node, events, null));
            refused(Code.NONODE, () -> watching.zk.getChildren(node, events));
            writing.create(node);
            writing.zk.setData(node, null, -1);
            writing.zk.delete(node, -1);
            watching.settle();
            events.none();
        }
    }

    @Check
    public void oneWatcherIsToldOnceOfOneDelete() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events events = new Events();
            Events second = new Events();
            watching.zk.getData(node, events, null);
            watching.zk.exists(node, events);
            watching.zk.getChildren(node, events);
            watching.zk.getChildren(node, second);
            writing.zk.delete(node, -1);
            events.next(EventType.NodeDeleted, node);
            second.next(EventType.NodeDeleted, node);
            watching.settle();
            events.none();
            second.none();
        }
    }

    @Check
    public void ownChangesComeBeforeTheirReply() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/n");
            for (int round = 0; round < 50; round++) {
                List<String> order = Collections.synchronizedList(new ArrayList<>());
                client.zk.getData(node, event -> order.add("event"), null);
                client.zk.setData(
                        node,
                        null,
                        -1,
                        (code, path, context, stat) -> order.add("reply " + code),
                        null);
                client.settle();
                Expect.equal(Arrays.asList("event", "reply 0"), order, "order in round " + round);
            }
        }
    }

    @Check
    public void eventComesBeforeTheNewDataIsSeen() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            for (int round = 0; round < 100; round++) {
                List<String> order = Collections.synchronizedList(new ArrayList<>());
                watching.zk.getData(node, event -> order.add("event"), null);
                writing.zk.setData(
                        node, bytes("x"), round, (code, path, context, stat) -> {}, null);
                int version = round + 1;
                boolean[] seen = new boolean[1];
                while (!seen[0]) {
                    watching.zk.getData(
                            node,
                            false,
                            (code, path, context, data, stat) -> {
                                if (stat.getVersion() == version && !seen[0]) {
                                    order.add("data");
                                    seen[0] = true;
                                }
                            },
                            null);
                    watching.settle();
                }
                Expect.equal(Arrays.asList("event", "data"), order, "order in round " + round);
            }
        }
    }

    @Check
    public void sessionCloseFiresWatchesOnItsEphemerals() throws Exception {
        try (Client watching = Client.open()) {
            String root = watching.root();
            Events data = new Events();
            Events children = new Events();
            try (Client owner = Client.open()) {
                owner.create(root + "/e", CreateMode.EPHEMERAL);
                watching.zk.getData(root + "/e", data, null);
                watching.zk.getChildren(root, children);
            }
            data.next(EventType.NodeDeleted, root + "/e");
            children.next(EventType.NodeChildrenChanged, root);
        }
    }

    /**
     * setWatches: what changed while the connection was away is told at once, the rest stays armed.
     */
    @Check
    public void watchesOutliveALostConnection() throws Exception {
        try (Proxy proxy = new Proxy();
                Client watching = Client.open(proxy.connect());
                Client writing = Client.open()) {
            String root = writing.root();
            for (String name :
                    Arrays.asList(
                            "data",
                            "gone",
                            "parent",
                            "parent/old",
                            "bare",
                            "same",
                            "sameParent",
                            "deletedParent",
                            "reborn")) {
                writing.create(root + "/" + name);
            }
            Events events = new Events();
            watching.zk.getData(root + "/data", events, null);
            watching.zk.getData(root + "/gone", events, null);
            watching.zk.getChildren(root + "/parent", events);
            watching.zk.exists(root + "/coming", events);
            watching.zk.exists(root + "/bare", events);
            watching.zk.getData(root + "/same", events, null);
            watching.zk.getChildren(root + "/sameParent", events);
            watching.zk.exists(root + "/later", events);
            watching.zk.getChildren(root + "/deletedParent", events);
            watching.zk.getData(root + "/reborn", events, null);

            proxy.split();
            watching.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
            writing.zk.setData(root + "/data", bytes("new"), -1);
            writing.zk.delete(root + "/gone", -1);
            writing.create(root + "/parent/new");
            writing.create(root + "/coming");
            writing.zk.delete(root + "/bare", -1);
            writing.zk.delete(root + "/deletedParent", -1);
            writing.zk.delete(root + "/reborn", -1);
            writing.create(root + "/reborn");
            proxy.heal();
            watching.awaitConnected();
            watching.settle();
            Expect.equal(
                    Arrays.asList(
                            "NodeChildrenChanged " + root + "/parent",
                            "NodeCreated " + root + "/coming",
                            "NodeDataChanged " + root + "/data",
                            "NodeDataChanged " + root + "/reborn",
                            "NodeDeleted " + root + "/bare",
                            "NodeDeleted " + root + "/deletedParent",
                            "NodeDeleted " + root + "/gone"),
                    events.drainSorted(),
                    "events after the reconnect");

            writing.zk.setData(root + "/same", null, -1);
            events.next(EventType.NodeDataChanged, root + "/same");
            writing.create(root + "/sameParent/c");
            events.next(EventType.NodeChildrenChanged, root + "/sameParent");
            writing.create(root + "/later");
            events.next(EventType.NodeCreated, root + "/later");
            watching.settle();
            events.none();
        }
    }

    /** More watched paths than fit into one setWatches frame of 128 KiB. */
    @Check
    public void thousandsOfWatchesAreRearmed() throws Exception {
        int nodes = 2_000;
        String longName = String.join("", Collections.nCopies(100, "n"));
        try (Proxy proxy = new Proxy();
                Client watching = Client.open(proxy.connect());
                Client writing = Client.open()) {
            String root = writing.root();
            Events events = new Events();
            for (int i = 0; i < nodes; i++) {
                watching.zk.exists(
                        root + "/" + longName + i, events, (code, path, context, stat) -> {}, null);
            }
            watching.settle();
            proxy.cut();
            watching.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
            watching.awaitConnected();
            watching.settle();
            events.none();
            for (int i = 0; i < nodes; i++) {
                writing.zk.create(
                        root + "/" + longName + i,
                        null,
                        Ids.OPEN_ACL_UNSAFE,
                        CreateMode.PERSISTENT,
                        (code, path, context, name) -> {},
                        null);
            }
            writing.settle();
            watching.settle();
            Expect.equal(nodes, events.count(), "events of re-armed watches");
        }
    }
}

package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Proxy;

import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** Watches that stay: on one node, and on a whole subtree. */
public final class PersistentWatchChecks {
    @Check
    public void persistentSeesTheNodeAndItsChildrensNames() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.root() + "/n";
            Events events = new Events();
            watching.zk.addWatch(node, events, AddWatchMode.PERSISTENT);
            for (int round = 0; round < 2; round++) {
                writing.create(node);
                writing.zk.setData(node, bytes("1"), -1);
                writing.zk.setData(node, bytes("2"), -1);
                writing.create(node + "/c");
                writing.zk.setData(node + "/c", null, -1);
                writing.create(node + "/c/deep");
                writing.zk.delete(node + "/c/deep", -1);
                writing.zk.delete(node + "/c", -1);
                writing.zk.delete(node, -1);
                events.next(EventType.NodeCreated, node);
                events.next(EventType.NodeDataChanged, node);
                events.next(EventType.NodeDataChanged, node);
                events.next(EventType.NodeChildrenChanged, node);
                events.next(EventType.NodeChildrenChanged, node);
                events.next(EventType.NodeDeleted, node);
            }
            watching.settle();
            events.none();
        }
    }

    @Check
    public void recursiveSeesTheSubtree() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.root() + "/n";
            Events events = new Events();
            watching.zk.addWatch(node, events, AddWatchMode.PERSISTENT_RECURSIVE);
            writing.create(node + "sibling");
            for (int round = 0; round < 2; round++) {
                writing.create(node);
                writing.create(node + "/c");
                writing.create(node + "/c/deep");
                writing.zk.setData(node + "/c/deep", bytes("x"), -1);
                writing.zk.delete(node + "/c/deep", -1);
                writing.zk.setData(node, null, -1);
                writing.zk.delete(node + "/c", -1);
                writing.zk.delete(node, -1);
                events.next(EventType.NodeCreated, node);
                events.next(EventType.NodeCreated, node + "/c");
                events.next(EventType.NodeCreated, node + "/c/deep");
                events.next(EventType.NodeDataChanged, node + "/c/deep");
                events.next(EventType.NodeDeleted, node + "/c/deep");
                events.next(EventType.NodeDataChanged, node);
                events.next(EventType.NodeDeleted, node + "/c");
                events.next(EventType.NodeDeleted, node);
            }
            watching.settle();
            events.none();
        }
    }

    /** One-shot watches on the same node fire and go; the persistent one stays. */
    @Check
    public void kindsOfWatchesDoNotDisturbEachOther() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events persistent = new Events();
            Events recursive = new Events();
            Events once = new Events();
            watching.zk.addWatch(node, persistent, AddWatchMode.PERSISTENT);
            watching.zk.addWatch(node, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            watching.zk.getData(node, once, null);
            for (int round = 0; round < 3; round++) {
                writing.zk.setData(node, null, -1);
                persistent.next(EventType.NodeDataChanged, node);
                recursive.next(EventType.NodeDataChanged, node);
            }
            once.next(EventType.NodeDataChanged, node);
            watching.settle();
            persistent.none();
            recursive.none();
            once.none();
        }
    }

    @Check
    public void eventsCarryTheZxidOfTheChange() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.root() + "/n";
            BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
            watching.zk.addWatch(node, events::add, AddWatchMode.PERSISTENT);
            Stat made = new Stat();
            writing.zk.create(node, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, made);
            Stat set = writing.zk.setData(node, null, -1);
            writing.zk.delete(node, -1);
            long deleted = writing.zk.exists(writing.root(), false).getPzxid();
            watching.settle();
            Expect.equal(
                    List.of(made.getCzxid(), set.getMzxid(), deleted),
                    events.stream().map(WatchedEvent::getZxid).toList(),
                    "zxids of the events");
        }
    }

    @Check
    public void theyOutliveALostConnection() throws Exception {
        try (Proxy proxy = new Proxy();
                Client watching = Client.open(proxy.connect());
                Client writing = Client.open()) {
            String root = writing.root();
            String node = writing.create(root + "/n");
            String tree = writing.create(root + "/tree");
            Events persistent = new Events();
            Events recursive = new Events();
            Events once = new Events();
            watching.zk.addWatch(node, persistent, AddWatchMode.PERSISTENT);
            watching.zk.addWatch(tree, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            watching.zk.getData(node, once, null);
            proxy.split();
            watching.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
            writing.zk.setData(node, null, -1);
            writing.create(tree + "/missed");
            proxy.heal();
            watching.awaitConnected();
            watching.settle();
            // What a persistent watch missed is not replayed to it as such. The one-shot watch of
            // the
            // same client is, and the client hands that event to every watcher of the path.
            once.next(EventType.NodeDataChanged, node);
            persistent.next(EventType.NodeDataChanged, node);
            recursive.none();
            writing.zk.setData(node, null, -1);
            persistent.next(EventType.NodeDataChanged, node);
            writing.create(tree + "/a");
            recursive.next(EventType.NodeCreated, tree + "/a");
            watching.settle();
            persistent.none();
            once.none();
        }
    }

    @Check
    public void theyCanBeRemoved() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events persistent = new Events();
            Events recursive = new Events();
            watching.zk.addWatch(node, persistent, AddWatchMode.PERSISTENT);
            watching.zk.addWatch(node, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            watching.zk.removeWatches(node, persistent, WatcherType.Persistent, false);
            persistent.next(EventType.PersistentWatchRemoved, node);
            writing.zk.setData(node, null, -1);
            recursive.next(EventType.NodeDataChanged, node);
            watching.zk.removeWatches(node, recursive, WatcherType.PersistentRecursive, false);
            recursive.next(EventType.PersistentWatchRemoved, node);
            writing.zk.setData(node, null, -1);
            writing.create(node + "/c");
            watching.settle();
            persistent.none();
            recursive.none();
            refused(
                    Code.NOWATCHER,
                    () ->
                            watching.zk.removeWatches(
                                    node, persistent, WatcherType.Persistent, false));
        }
    }

    /** An event is told only to those who may read the node. */
    @Check
    public void unreadableNodesAreNotToldOf() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String root = writing.root();
            Events events = new Events();
            watching.zk.addWatch(root, events, AddWatchMode.PERSISTENT_RECURSIVE);
            writing.create(
                    root + "/hidden",
                    Arrays.asList(new ACL(Perms.ALL & ~Perms.READ, Ids.ANYONE_ID_UNSAFE)));
            writing.zk.setData(root + "/hidden", null, -1);
            writing.create(root + "/seen");
            writing.zk.delete(root + "/hidden", -1);
            writing.zk.delete(root + "/seen", -1);
            events.next(EventType.NodeCreated, root + "/seen");
            events.next(EventType.NodeDeleted, root + "/seen");
            watching.settle();
            events.none();
        }
    }
}

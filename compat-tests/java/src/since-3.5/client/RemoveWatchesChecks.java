package client;

import static client.Client.refused;

import compat.Check;

import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.WatcherType;

/** Watches taken back: the removed one is told of its removal and of nothing else. */
public final class RemoveWatchesChecks {
    @Check
    public void aRemovedDataWatchIsSilent() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events data = new Events();
            Events children = new Events();
            watching.zk.getData(node, data, null);
            watching.zk.getChildren(node, children);
            watching.zk.removeWatches(node, data, WatcherType.Data, false);
            data.next(EventType.DataWatchRemoved, node);
            writing.zk.setData(node, null, -1);
            writing.create(node + "/c");
            children.next(EventType.NodeChildrenChanged, node);
            watching.settle();
            data.none();
        }
    }

    @Check
    public void aRemovedChildWatchIsSilent() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events data = new Events();
            Events children = new Events();
            watching.zk.getData(node, data, null);
            watching.zk.getChildren(node, children);
            watching.zk.removeWatches(node, children, WatcherType.Children, false);
            children.next(EventType.ChildWatchRemoved, node);
            writing.create(node + "/c");
            writing.zk.setData(node, null, -1);
            data.next(EventType.NodeDataChanged, node);
            watching.settle();
            children.none();
        }
    }

    @Check
    public void removeAllTakesEveryKind() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events first = new Events();
            Events second = new Events();
            watching.zk.getData(node, first, null);
            watching.zk.getChildren(node, second);
            watching.zk.removeAllWatches(node, WatcherType.Any, false);
            first.next(EventType.DataWatchRemoved, node);
            second.next(EventType.ChildWatchRemoved, node);
            writing.zk.setData(node, null, -1);
            writing.create(node + "/c");
            watching.settle();
            first.none();
            second.none();
        }
    }

    /** Only the last of two watchers on a path ends the server's watch. */
    @Check
    public void theOtherWatcherStays() throws Exception {
        try (Client watching = Client.open();
                Client writing = Client.open()) {
            String node = writing.create(writing.root() + "/n");
            Events first = new Events();
            Events second = new Events();
            watching.zk.getData(node, first, null);
            watching.zk.getData(node, second, null);
            watching.zk.removeWatches(node, first, WatcherType.Data, false);
            first.next(EventType.DataWatchRemoved, node);
            writing.zk.setData(node, null, -1);
            second.next(EventType.NodeDataChanged, node);
            watching.settle();
            first.none();
        }
    }

    @Check
    public void removingWhatIsNotThereIsRefused() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/n");
            Events events = new Events();
            refused(
                    Code.NOWATCHER,
                    () -> client.zk.removeWatches(node, events, WatcherType.Data, false));
            client.zk.getData(node, events, null);
            refused(
                    Code.NOWATCHER,
                    () -> client.zk.removeWatches(node, events, WatcherType.Children, false));
            refused(
                    Code.NOWATCHER,
                    () -> client.zk.removeWatches(node, new Events(), WatcherType.Data, false));
            client.zk.removeWatches(node, events, WatcherType.Data, false);
        }
    }
}

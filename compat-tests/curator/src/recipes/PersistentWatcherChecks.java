package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.Watcher.Event.EventType;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;

/** A watch that stays, on a node or on a tree. */
public final class PersistentWatcherChecks {
    @Check
    public void tellsEveryNodeOfATree() throws Exception {
        try (WatchedTree tree = new WatchedTree();
                PersistentWatcher watcher = new PersistentWatcher(tree.client, tree.path, true)) {
            Set<String> nodes = Collections.synchronizedSet(new TreeSet<>(tree.actual().keySet()));
            AtomicInteger resets = new AtomicInteger();
            watcher.getResetListenable().addListener(resets::incrementAndGet);
            watcher.getListenable()
                    .addListener(
                            event -> {
                                if (event.getType() == EventType.NodeCreated) {
                                    nodes.add(event.getPath());
                                } else if (event.getType() == EventType.NodeDeleted) {
                                    nodes.remove(event.getPath());
                                }
                            });
            watcher.start();
            // Once, or once more when Curator tells a new listener of the connection that it has.
            Expect.eventually(Arena.WAIT_MILLIS, "the watch is set", () -> resets.get() > 0);
            tree.contest.go();
            tree.contest.killHolder();
            tree.contest.awaitOthers();
            tree.awaitExpiry();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    new TreeSet<>(tree.actual().keySet()),
                    "nodes by created and deleted events",
                    () -> new TreeSet<>(nodes));

            int before = resets.get();
            tree.proxy.cut();
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "the watch is set again after a lost connection",
                    () -> resets.get() > before);
            tree.contest.client.create().forPath(tree.path + "/after");
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "an event after the lost connection",
                    () -> nodes.contains(tree.path + "/after"));
        }
    }

    @Check
    public void tellsOneNodeOnly() throws Exception {
        try (Arena arena = new Arena();
                PersistentWatcher watcher =
                        new PersistentWatcher(arena.client, arena.path("n"), false)) {
            List<String> events = Collections.synchronizedList(new ArrayList<>());
            AtomicInteger resets = new AtomicInteger();
            watcher.getResetListenable().addListener(resets::incrementAndGet);
            watcher.getListenable()
                    .addListener(
                            event ->
                                    events.add(
                                            event.getType()
                                                    + " "
                                                    + event.getPath()
                                                            .substring(arena.root.length())));
            watcher.start();
            // Once, or once more when Curator tells a new listener of the connection that it has.
            Expect.eventually(Arena.WAIT_MILLIS, "the watch is set", () -> resets.get() > 0);
            arena.client.create().forPath(arena.path("n"));
            arena.client.create().forPath(arena.path("n/c"));
            arena.client.create().forPath(arena.path("n/c/d"));
            arena.client.setData().forPath(arena.path("n"), new byte[1]);
            arena.client.delete().deletingChildrenIfNeeded().forPath(arena.path("n"));
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    List.of(
                            "NodeCreated /n",
                            "NodeChildrenChanged /n",
                            "NodeDataChanged /n",
                            "NodeChildrenChanged /n",
                            "NodeDeleted /n"),
                    "events",
                    () -> new ArrayList<>(events));
        }
    }
}

package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.cache.NodeCache;

import java.util.concurrent.atomic.AtomicInteger;

/** The data of one node kept in memory. */
public final class NodeCacheChecks {
    @Check
    public void followsOneNodeOverALostConnection() throws Exception {
        try (WatchedTree tree = new WatchedTree();
                NodeCache cache = new NodeCache(tree.client, tree.path + "/n1")) {
            AtomicInteger changes = new AtomicInteger();
            cache.getListenable().addListener(changes::incrementAndGet);
            cache.start(true);
            Expect.equal(null, data(cache), "data of a missing node");
            tree.change();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    tree.actual().get(tree.path + "/n1"),
                    "data after the contest",
                    () -> data(cache));
            Expect.that(changes.get() > 0, "the listener heard nothing");

            tree.contest.client.create().orSetData().forPath(tree.path + "/n1", "last".getBytes());
            Expect.becomes(Arena.WAIT_MILLIS, "last", "data after a change", () -> data(cache));
            tree.contest.client.delete().deletingChildrenIfNeeded().forPath(tree.path + "/n1");
            Expect.becomes(Arena.WAIT_MILLIS, null, "data after the delete", () -> data(cache));
        }
    }

    private static String data(NodeCache cache) {
        return cache.getCurrentData() == null
                ? null
                : WatchedTree.text(cache.getCurrentData().getData());
    }
}

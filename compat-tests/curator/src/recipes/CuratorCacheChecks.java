package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;

import java.util.TreeMap;

/** A whole tree kept in memory by one persistent recursive watch. */
public final class CuratorCacheChecks {
    @Check
    public void followsTheTreeOverALostConnection() throws Exception {
        try (WatchedTree tree = new WatchedTree();
                CuratorCache cache = CuratorCache.build(tree.client, tree.path)) {
            cache.listenable()
                    .addListener(
                            CuratorCacheListener.builder()
                                    .forCreates(tree::told)
                                    .forChanges((before, after) -> tree.told(after))
                                    .forDeletes(data -> tree.told.remove(data.getPath()))
                                    .build());
            cache.start();
            tree.change();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    tree.actual(),
                    "nodes in the cache",
                    () -> {
                        TreeMap<String, String> nodes = new TreeMap<>();
                        cache.stream()
                                .forEach(
                                        data ->
                                                nodes.put(
                                                        data.getPath(),
                                                        WatchedTree.text(data.getData())));
                        return nodes;
                    });
            // Names only: of a node that was deleted and made anew while the client was away, with
            // the
            // same version as before, this cache takes the new data over without an event.
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    tree.actual().keySet(),
                    "nodes by the events",
                    () -> new TreeMap<>(tree.told).keySet());
        }
    }
}

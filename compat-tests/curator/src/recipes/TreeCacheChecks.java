package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.TreeCache;

import java.util.TreeMap;

/** A whole tree kept in memory by one-shot watches on every node. */
public final class TreeCacheChecks {
    @Check
    public void followsTheTreeOverALostConnection() throws Exception {
        try (WatchedTree tree = new WatchedTree();
                TreeCache cache = new TreeCache(tree.client, tree.path)) {
            cache.getListenable()
                    .addListener(
                            (client, event) -> {
                                switch (event.getType()) {
                                    case NODE_ADDED, NODE_UPDATED -> tree.told(event.getData());
                                    case NODE_REMOVED ->
                                            tree.told.remove(event.getData().getPath());
                                    default -> {}
                                }
                            });
            cache.start();
            tree.change();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    tree.actual(),
                    "nodes in the cache",
                    () -> {
                        TreeMap<String, String> nodes = new TreeMap<>();
                        collect(cache, tree.path, nodes);
                        return nodes;
                    });
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    tree.actual(),
                    "sum of the events",
                    () -> new TreeMap<>(tree.told));
        }
    }

    private static void collect(TreeCache cache, String path, TreeMap<String, String> nodes) {
        ChildData data = cache.getCurrentData(path);
        if (data != null) {
            nodes.put(path, WatchedTree.text(data.getData()));
            cache.getCurrentChildren(path)
                    .keySet()
                    .forEach(name -> collect(cache, path + "/" + name, nodes));
        }
    }
}

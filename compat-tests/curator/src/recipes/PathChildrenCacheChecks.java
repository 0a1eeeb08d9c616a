package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.cache.PathChildrenCache;

import java.util.Map;
import java.util.TreeMap;

/** The children of one node kept in memory. */
public final class PathChildrenCacheChecks {
    @Check
    public void followsTheChildrenOverALostConnection() throws Exception {
        try (WatchedTree tree = new WatchedTree();
                PathChildrenCache cache = new PathChildrenCache(tree.client, tree.path, true)) {
            cache.getListenable()
                    .addListener(
                            (client, event) -> {
                                switch (event.getType()) {
                                    case CHILD_ADDED, CHILD_UPDATED -> tree.told(event.getData());
                                    case CHILD_REMOVED ->
                                            tree.told.remove(event.getData().getPath());
                                    default -> {}
                                }
                            });
            cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
            Expect.equal(1, cache.getCurrentData().size(), "children at the start");
            tree.told(cache.getCurrentData().get(0));
            tree.change();
            Map<String, String> children = new TreeMap<>();
            tree.actual()
                    .forEach(
                            (path, data) -> {
                                if (path.lastIndexOf('/') == tree.path.length()) {
                                    children.put(path, data);
                                }
                            });
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    children,
                    "children in the cache",
                    () -> {
                        Map<String, String> nodes = new TreeMap<>();
                        cache.getCurrentData()
                                .forEach(
                                        data ->
                                                nodes.put(
                                                        data.getPath(),
                                                        WatchedTree.text(data.getData())));
                        return nodes;
                    });
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    children,
                    "sum of the events",
                    () -> new TreeMap<>(tree.told));
        }
    }
}

package recipes;

import compat.Expect;
import compat.Proxy;
import compat.Server;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.zookeeper.KeeperException;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/**
 * A tree changed by three processes, and a client behind a proxy that looks at it through a cache.
 */
final class WatchedTree implements AutoCloseable {
    final Contest contest = new Contest(TreeWriter.class);
    final Proxy proxy = new Proxy();
    final CuratorFramework client = Clients.start(proxy.connect(), Server.LONG_SESSION_MILLIS);
    final String path = contest.path(TreeWriter.TREE);

    /** What the cache's events add up to. */
    final Map<String, String> told = Collections.synchronizedMap(new TreeMap<>());

    WatchedTree() throws Exception {
        contest.client
                .create()
                .creatingParentsIfNeeded()
                .forPath(contest.path(TreeWriter.KEPT), "kept".getBytes());
        contest.client.setData().forPath(path, "top".getBytes());
    }

    /**
     * Lets the writers write, cuts the watching client off for a part of it, and waits until the
     * killed one's session is over.
     */
    void change() throws Exception {
        contest.go();
        contest.killHolder();
        proxy.split();
        contest.awaitOthers();
        proxy.heal();
        awaitExpiry();
    }

    void awaitExpiry() throws Exception {
        Expect.eventually(
                Arena.WAIT_MILLIS,
                "the killed writer's ephemeral goes",
                () ->
                        contest.client
                                        .checkExists()
                                        .forPath(contest.path(TreeWriter.KEPT + "/ephemeral"))
                                == null);
    }

    void told(ChildData data) {
        told.put(data.getPath(), text(data.getData()));
    }

    /** Path and data of everything below, and of the top itself, read node by node. */
    Map<String, String> actual() throws Exception {
        Map<String, String> nodes = new TreeMap<>();
        collect(contest.client, path, nodes);
        return nodes;
    }

    private static void collect(CuratorFramework client, String path, Map<String, String> nodes)
            throws Exception {
        try {
            nodes.put(path, text(client.getData().forPath(path)));
            for (String name : client.getChildren().forPath(path)) {
                collect(client, path + "/" + name, nodes);
            }
        } catch (KeeperException.NoNodeException e) {
            nodes.remove(path);
        }
    }

    static String text(byte[] data) {
        return data == null ? "null" : new String(data);
    }

    @Override
    public void close() throws Exception {
        client.close();
        proxy.close();
        contest.close();
    }
}

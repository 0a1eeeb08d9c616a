package failover;

import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.zookeeper.KeeperException;

import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * CuratorCache, TreeCache and PathChildrenCache: whenever the tree rests, each user's caches become
 * equal to it.
 */
final class Caches extends Recipe {
    private static final long CATCH_UP_MILLIS = 20_000;
    private static final int TOPS = 4;
    private static final int LEAVES = 3;

    private final String path;
    private final CuratorFramework reader;
    private final List<Followers> all = new CopyOnWriteArrayList<>();

    /** Writers share it; whoever looks has it alone. */
    private final ReentrantReadWriteLock rest = new ReentrantReadWriteLock(true);

    Caches(String root, CuratorFramework reader) throws Exception {
        this.path = root + "/tree";
        this.reader = reader;
        reader.create().forPath(path, "top".getBytes());
    }

    private final class Followers implements Work {
        private final User user;
        private final Random random;
        private final CuratorCache tree;
        private final TreeCache oldTree;
        private final PathChildrenCache children;
        private int change;

        Followers(User user) throws Exception {
            this.user = user;
            random = new Random(user.id.hashCode());
            tree = CuratorCache.build(user.client, path);
            tree.start();
            oldTree = new TreeCache(user.client, path);
            oldTree.start();
            children = new PathChildrenCache(user.client, path, true);
            children.start();
        }

        @Override
        public boolean round() throws Exception {
            String top = path + "/n" + random.nextInt(TOPS);
            String node = random.nextBoolean() ? top : top + "/m" + random.nextInt(LEAVES);
            byte[] data = (user.id + change++).getBytes();
            rest.readLock().lock();
            try {
                if (random.nextInt(3) == 0) {
                    user.client.delete().forPath(node);
                } else {
                    user.client.create().orSetData().forPath(node, data);
                }
            } catch (KeeperException.NoNodeException | KeeperException.NotEmptyException e) {
                // Another user was there first.
            } finally {
                rest.readLock().unlock();
            }
            return true;
        }

        void becomes(Map<String, String> actual) throws Exception {
            Expect.becomes(CATCH_UP_MILLIS, actual, user.id + "'s CuratorCache", this::tree);
            Expect.becomes(CATCH_UP_MILLIS, actual, user.id + "'s TreeCache", this::oldTree);
            Map<String, String> tops = new TreeMap<>(actual);
            tops.keySet().removeIf(node -> node.lastIndexOf('/') != path.length());
            Expect.becomes(CATCH_UP_MILLIS, tops, user.id + "'s PathChildrenCache", this::children);
        }

        private Map<String, String> tree() {
            Map<String, String> nodes = new TreeMap<>();
            tree.stream().forEach(data -> add(data, nodes));
            return nodes;
        }

        private Map<String, String> oldTree() {
            Map<String, String> nodes = new TreeMap<>();
            addBelow(path, nodes);
            return nodes;
        }

        private void addBelow(String node, Map<String, String> nodes) {
            ChildData data = oldTree.getCurrentData(node);
            Map<String, ChildData> below = oldTree.getCurrentChildren(node);
            if (data != null && below != null) {
                add(data, nodes);
                below.keySet().forEach(name -> addBelow(node + "/" + name, nodes));
            }
        }

        private Map<String, String> children() {
            Map<String, String> nodes = new TreeMap<>();
            children.getCurrentData().forEach(data -> add(data, nodes));
            return nodes;
        }

        @Override
        public void close() throws Exception {
            tree.close();
            oldTree.close();
            children.close();
        }
    }

    private static void add(ChildData data, Map<String, String> nodes) {
        nodes.put(data.getPath(), new String(data.getData()));
    }

    @Override
    Work begin(User user) throws Exception {
        Followers followers = new Followers(user);
        all.add(followers);
        return followers;
    }

    @Override
    void checkAtRest() throws Exception {
        rest.writeLock().lock();
        try {
            reader.sync().forPath(path);
            Map<String, String> actual = new TreeMap<>();
            collect(path, actual);
            for (Followers followers : all) {
                followers.becomes(actual);
            }
        } finally {
            rest.writeLock().unlock();
        }
    }

    private void collect(String node, Map<String, String> nodes) throws Exception {
        nodes.put(node, new String(reader.getData().forPath(node)));
        for (String name : reader.getChildren().forPath(node)) {
            collect(node + "/" + name, nodes);
        }
    }
}

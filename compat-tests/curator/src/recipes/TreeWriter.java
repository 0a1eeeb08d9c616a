package recipes;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

import java.util.Random;

/**
 * Changes a small tree at random, so that three writers keep getting in each other's way; for
 * caches to follow.
 */
public final class TreeWriter implements Contestant {
    static final String TREE = "tree";
    static final String KEPT = TREE + "/kept";
    private static final int CHANGES = 120;
    private static final int TOPS = 4;
    private static final int LEAVES = 3;

    @Override
    public void compete(Stage stage) throws Exception {
        if (stage.isVictim()) {
            // They go when the session of the killed process expires, and caches must hear of that.
            stage.client
                    .create()
                    .withMode(CreateMode.EPHEMERAL)
                    .forPath(stage.path(TREE + "/ephemeral"), "a".getBytes());
            stage.client
                    .create()
                    .withMode(CreateMode.EPHEMERAL)
                    .forPath(stage.path(KEPT + "/ephemeral"), "a".getBytes());
        }
        Random random = new Random(stage.id.hashCode());
        for (int change = 0; change < CHANGES; change++) {
            String top = TREE + "/n" + random.nextInt(TOPS);
            String path =
                    stage.path(random.nextBoolean() ? top : top + "/m" + random.nextInt(LEAVES));
            try {
                if (random.nextInt(3) == 0) {
                    stage.client.delete().forPath(path);
                } else {
                    stage.client.create().orSetData().forPath(path, (stage.id + change).getBytes());
                }
            } catch (KeeperException.NoNodeException | KeeperException.NotEmptyException e) {
                // Another writer was there first.
            }
            stage.holdIfVictim();
        }
    }
}

package failover;

import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.zookeeper.data.Stat;

import java.util.concurrent.TimeUnit;

/** LeaderLatch: whoever says that it leads comes after those that led before. */
final class Latch extends Recipe {
    private final String path;
    private final Holders holders = new Holders(this, 1);

    Latch(String root) {
        path = root + "/latch";
    }

    @Override
    Work begin(User user) {
        return () -> {
            try (LeaderLatch latch = new LeaderLatch(user.client, path, user.id)) {
                latch.start();
                return latch.await(TURN_MILLIS, TimeUnit.MILLISECONDS) && lead(user, latch);
            }
        };
    }

    /** A leader whose connection is cut hears that it leads no more; until then nobody may. */
    private boolean lead(User user, LeaderLatch latch) throws Exception {
        String node = latch.getLastPathIsLeader();
        Stat stat = user.client.checkExists().forPath(node);
        Thread.sleep(WORK_MILLIS);
        synchronized (holders) {
            if (stat == null || !latch.hasLeadership() || !node.equals(latch.getOurPath())) {
                return false;
            }
            holders.present(user.id, stat.getCzxid());
            return true;
        }
    }
}

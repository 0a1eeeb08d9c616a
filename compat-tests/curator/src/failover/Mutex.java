package failover;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.zookeeper.data.Stat;

import java.util.concurrent.TimeUnit;

/** InterProcessMutex: one holder at a time, in the order of their fencing tokens. */
final class Mutex extends Recipe {
    private final String path;
    private final Holders holders = new Holders(this, 1);

    Mutex(String root) {
        path = root + "/mutex";
    }

    /**
     * Tells the node that it holds by. The zxid that created it is the fencing token: sequence numbers
     * begin anew when the container of a lock that nobody wants is reaped.
     */
    private static final class Fenced extends InterProcessMutex {
        private final CuratorFramework client;

        Fenced(CuratorFramework client, String path) {
            super(client, path);
            this.client = client;
        }

        Stat node() throws Exception {
            return client.checkExists().forPath(getLockPath());
        }
    }

    @Override
    Work begin(User user) {
        Fenced lock = new Fenced(user.client, path);
        return () -> {
            if (!lock.acquire(TURN_MILLIS, TimeUnit.MILLISECONDS)) {
                return false;
            }
            try {
                holders.enter(user.id);
                Stat node = lock.node();
                if (node == null) {
                    wrong(user.id + " holds by a node that is gone");
                } else {
                    holders.present(user.id, node.getCzxid());
                }
                Thread.sleep(WORK_MILLIS);
            } finally {
                holders.leave(user.id);
                lock.release();
            }
            return true;
        };
    }
}

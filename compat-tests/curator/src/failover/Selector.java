package failover;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

import java.util.concurrent.TimeUnit;

/** LeaderSelector: leadership goes round, and two never have it. */
final class Selector extends Recipe {
    private static final long TERM_MILLIS = 60;

    private final String path;
    private final Holders holders = new Holders(this, 1);

    Selector(String root) {
        path = root + "/selector";
    }

    @Override
    Work begin(User user) {
        java.util.concurrent.Semaphore terms = new java.util.concurrent.Semaphore(0);
        LeaderSelector selector =
                new LeaderSelector(
                        user.client,
                        path,
                        new LeaderSelectorListenerAdapter() {
                            @Override
                            public void takeLeadership(CuratorFramework client) throws Exception {
                                holders.enter(user.id);
                                try {
                                    // Ends early, by an interrupt, when the connection is cut.
                                    Thread.sleep(TERM_MILLIS);
                                } finally {
                                    holders.leave(user.id);
                                }
                                terms.release();
                            }
                        });
        selector.autoRequeue();
        selector.start();
        return new Work() {
            @Override
            public boolean round() throws InterruptedException {
                return terms.tryAcquire(TURN_MILLIS, TimeUnit.MILLISECONDS);
            }

            @Override
            public void close() {
                selector.close();
            }
        };
    }
}

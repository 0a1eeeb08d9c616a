package recipes;

import compat.Check;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;

import java.util.concurrent.CountDownLatch;

/** Leadership that is taken for a while and goes round. */
public final class LeaderSelectorChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        CountDownLatch rounds = new CountDownLatch(Stage.ROUNDS);
        LeaderSelector selector =
                new LeaderSelector(
                        stage.client,
                        stage.path("leader"),
                        new LeaderSelectorListenerAdapter() {
                            @Override
                            public void takeLeadership(CuratorFramework client) throws Exception {
                                if (rounds.getCount() > 0) {
                                    stage.critical();
                                    rounds.countDown();
                                }
                            }
                        });
        selector.autoRequeue();
        selector.start();
        rounds.await();
        selector.close();
    }

    @Check
    public void oneLeadsAtATimeAndAKilledLeaderIsReplaced() throws Exception {
        try (Contest contest = new Contest(LeaderSelectorChecks.class)) {
            contest.exclusive();
        }
    }
}

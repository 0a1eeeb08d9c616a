package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.barriers.DistributedBarrier;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** A barrier that holds everyone until it is removed. */
public final class DistributedBarrierChecks implements Contestant {
    private static final long SHORT_WAIT_MILLIS = 500;

    @Override
    public void compete(Stage stage) throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(stage.client, stage.path("barrier"));
        stage.record("early " + barrier.waitOnBarrier(SHORT_WAIT_MILLIS, TimeUnit.MILLISECONDS));
        stage.say("holding");
        stage.record("late " + barrier.waitOnBarrier(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS));
    }

    @Check
    public void nobodyPassesBeforeItIsRemoved() throws Exception {
        try (Contest contest = new Contest(DistributedBarrierChecks.class)) {
            DistributedBarrier barrier =
                    new DistributedBarrier(contest.client, contest.path("barrier"));
            barrier.setBarrier();
            contest.go();
            contest.killHolder();
            for (String id : contest.children.keySet()) {
                contest.children.get(id).await("holding", Arena.WAIT_MILLIS);
            }
            contest.history.append("parent", "removed");
            barrier.removeBarrier();
            contest.awaitOthers();
            Expect.equal(
                    List.of("false", "false", "false"),
                    contest.history.details("early"),
                    "passed while the barrier stood");
            Expect.equal(
                    List.of("true", "true"),
                    contest.history.details("late"),
                    "passed when it was removed");
            long removed = contest.history.lines("removed").get(0).nanos();
            for (History.Line late : contest.history.lines("late")) {
                Expect.that(
                        late.nanos() >= removed,
                        late.who() + " passed before the barrier was removed");
            }
        }
    }
}

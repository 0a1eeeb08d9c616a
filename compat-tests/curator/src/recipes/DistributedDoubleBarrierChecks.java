package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** A barrier that lets a group begin together and end together. */
public final class DistributedDoubleBarrierChecks implements Contestant {
    private static final int MEMBERS = 3;

    @Override
    public void compete(Stage stage) throws Exception {
        for (int round = 0; round < 3; round++) {
            DistributedDoubleBarrier barrier =
                    new DistributedDoubleBarrier(
                            stage.client, stage.path("barrier" + round), MEMBERS);
            stage.record("arrive" + round);
            stage.record(
                    "entered"
                            + round
                            + " "
                            + barrier.enter(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS));
            if (round == 2 && stage.isVictim()) {
                stage.say("holding");
                Thread.sleep(Long.MAX_VALUE);
            }
            stage.record(
                    "left" + round + " " + barrier.leave(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS));
        }
    }

    @Check
    public void allEnterTogetherAndAKilledMemberHoldsNobodyForever() throws Exception {
        try (Contest contest = new Contest(DistributedDoubleBarrierChecks.class)) {
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            for (int round = 0; round < 3; round++) {
                together(contest.history, "arrive" + round, "entered" + round);
            }
            // How long they wait for each other is Curator's luck: a member whose own znode is gone leaves
            // as soon as it wakes and sees a single other, be that one that does not leave yet or has
            // been killed (DistributedDoubleBarrier.internalLeave).
            List<String> all = List.of("true", "true", "true");
            Expect.equal(all, contest.history.details("left0"), "left");
            Expect.equal(all, contest.history.details("left1"), "left again");
            Expect.equal(
                    List.of("true", "true"),
                    contest.history.details("left2"),
                    "left with one killed");
        }
    }

    private static void together(History history, String before, String after) throws Exception {
        Expect.equal(List.of("true", "true", "true"), history.details(after), after);
        Expect.equal(MEMBERS, history.lines(before).size(), before);
        long last = history.lines(before).get(MEMBERS - 1).nanos();
        long first = history.lines(after).get(0).nanos();
        Expect.that(
                last <= first,
                "someone " + after + " before the last one " + before + ": " + history.lines());
    }
}

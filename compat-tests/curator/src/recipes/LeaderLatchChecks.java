package recipes;

import compat.Check;
import compat.Child;
import compat.Expect;

import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;

/** Leadership that is kept until it is given up or lost. */
public final class LeaderLatchChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        LeaderLatch latch = new LeaderLatch(stage.client, stage.path("leader"), stage.id);
        latch.addListener(
                new LeaderLatchListener() {
                    @Override
                    public void isLeader() {
                        record(stage, "enter");
                    }

                    @Override
                    public void notLeader() {
                        record(stage, "leave");
                    }
                });
        latch.start();
        stage.await("close");
        if (latch.hasLeadership()) {
            stage.record("leave");
        }
        latch.close();
    }

    private static void record(Stage stage, String what) {
        try {
            stage.record(what);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Check
    public void leadershipPassesFromTheKilledAndFromTheOneWhoCloses() throws Exception {
        try (Contest contest = new Contest(LeaderLatchChecks.class)) {
            contest.go();
            // Never started: it looks on without taking part.
            LeaderLatch observer = new LeaderLatch(contest.client, contest.path("leader"));
            List<String> leaders = new ArrayList<>();
            Expect.becomes(
                    Arena.WAIT_MILLIS, 3, "participants", () -> observer.getParticipants().size());
            String first = nextLeader(contest, leaders);
            Expect.equal(first, observer.getLeader().getId(), "leader seen by an observer");
            contest.kill(first);
            String second = nextLeader(contest, leaders);
            Child closing = contest.children.remove(second);
            closing.say("close");
            closing.await("done", Arena.WAIT_MILLIS);
            String third = nextLeader(contest, leaders);
            Expect.equal(
                    List.of(third),
                    observer.getParticipants().stream().map(one -> one.getId()).toList(),
                    "participants left");
            contest.tell("close");
            contest.awaitOthers();
            // Idle since its election, the killed leader may have given its last sign of life a
            // while before.
            contest.history.insideAtMost(1, Contest.HELD_MILLIS / 2);
            Expect.equal(3, contest.history.lines("enter").size(), "leaders in all");
        }
    }

    private static String nextLeader(Contest contest, List<String> leaders) throws Exception {
        int place = leaders.size();
        Expect.eventually(
                Arena.WAIT_MILLIS,
                "a leader after " + leaders,
                () -> contest.history.lines("enter").size() > place);
        String leader = contest.history.lines("enter").get(place).who();
        leaders.add(leader);
        return leader;
    }
}

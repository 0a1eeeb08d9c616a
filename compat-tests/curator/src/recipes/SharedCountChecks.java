package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;

/** An integer that all processes see and set. */
public final class SharedCountChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (SharedCount count = new SharedCount(stage.client, stage.path("count"), 0)) {
            count.start();
            for (int round = 0; round < Stage.ROUNDS; round++) {
                VersionedValue<Integer> seen = count.getVersionedValue();
                while (!count.trySetCount(seen, seen.getValue() + 1)) {
                    seen = count.getVersionedValue();
                }
                stage.record("set " + (seen.getValue() + 1));
                // The victim stops between what it read and what it would set.
                stage.holdIfVictim();
            }
        }
    }

    @Check
    public void everyIncrementCountsOnce() throws Exception {
        try (Contest contest = new Contest(SharedCountChecks.class);
                SharedCount count = new SharedCount(contest.client, contest.path("count"), 0)) {
            Set<Integer> heard = Collections.synchronizedSet(new TreeSet<>());
            count.addListener(
                    new SharedCountListener() {
                        @Override
                        public void countHasChanged(SharedCountReader reader, int value) {
                            heard.add(value);
                        }

                        @Override
                        public void stateChanged(CuratorFramework client, ConnectionState state) {}
                    });
            count.start();
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            List<Integer> set =
                    new ArrayList<>(
                            contest.history.details("set").stream().map(Integer::valueOf).toList());
            Collections.sort(set);
            int total = 2 * Stage.ROUNDS + 2;
            Expect.equal(
                    IntStream.rangeClosed(1, total).boxed().toList(), set, "values that were set");
            Expect.becomes(Arena.WAIT_MILLIS, total, "value seen by a reader", count::getCount);
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "a listener hears of the last value",
                    () -> heard.contains(total));
        }
    }
}

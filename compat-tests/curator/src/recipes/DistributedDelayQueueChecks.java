package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A queue whose items are not given out before their time. */
public final class DistributedDelayQueueChecks implements Contestant {
    private static final long LONGEST_DELAY_MILLIS = 3_000;

    @Override
    public void compete(Stage stage) throws Exception {
        try (DistributedDelayQueue<String> queue =
                QueueBuilder.builder(
                                stage.client,
                                new Consumption(stage),
                                Consumption.TEXT,
                                stage.path("queue"))
                        .lockPath(stage.path("locks"))
                        .buildDelayQueue()) {
            queue.start();
            stage.await("stop");
        }
    }

    @Check
    public void noItemComesBeforeItsTimeOrTwice() throws Exception {
        try (Contest contest = new Contest(DistributedDelayQueueChecks.class);
                DistributedDelayQueue<String> producer =
                        QueueBuilder.<String>builder(
                                        contest.client,
                                        null,
                                        Consumption.TEXT,
                                        contest.path("queue"))
                                .buildDelayQueue()) {
            producer.start();
            contest.go();
            List<String> items = Queues.items("i");
            Map<String, Long> dueNanos = new HashMap<>();
            for (int i = 0; i < items.size(); i++) {
                long delayMillis = LONGEST_DELAY_MILLIS * i / items.size();
                // The wall clock has whole milliseconds, so an item may come up to one early by the
                // finer clock.
                dueNanos.put(items.get(i), System.nanoTime() + (delayMillis - 1) * 1_000_000);
                producer.put(items.get(i), System.currentTimeMillis() + delayMillis);
            }
            contest.killHolder();
            Queues.eachDoneOnce(
                    contest,
                    items,
                    List.of(),
                    item -> producer.put(item, System.currentTimeMillis()));
            for (History.Line line : contest.history.lines("took")) {
                String item = line.what().substring("took ".length());
                long due = dueNanos.getOrDefault(item, Long.MIN_VALUE);
                Expect.that(
                        line.nanos() >= due,
                        item + " came " + (due - line.nanos()) / 1_000_000 + " ms too early");
            }
        }
    }
}

package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A queue whose items can be taken back by id. */
public final class DistributedIdQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (DistributedIdQueue<String> queue =
                QueueBuilder.builder(
                                stage.client,
                                new Consumption(stage),
                                Consumption.TEXT,
                                stage.path("queue"))
                        .lockPath(stage.path("locks"))
                        .buildIdQueue()) {
            queue.start();
            stage.await("stop");
        }
    }

    @Check
    public void removedItemsAreNeverSeenAndTheOthersOnce() throws Exception {
        try (Contest contest = new Contest(DistributedIdQueueChecks.class);
                DistributedIdQueue<String> producer =
                        QueueBuilder.<String>builder(
                                        contest.client,
                                        null,
                                        Consumption.TEXT,
                                        contest.path("queue"))
                                .buildIdQueue()) {
            producer.start();
            List<String> items = new ArrayList<>(Queues.items("i"));
            for (String item : items) {
                producer.put(item, "id-" + item);
            }
            Expect.that(
                    producer.flushPuts(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "the puts did not get through");
            for (String item : List.of("i3", "i30", "i59")) {
                Expect.equal(1, producer.remove("id-" + item), "removed " + item);
                items.remove(item);
            }
            Expect.equal(0, producer.remove("id-i3"), "removed again");
            contest.go();
            contest.killHolder();
            Queues.eachDoneOnce(contest, items, List.of(), item -> producer.put(item, item));
        }
    }
}

package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A queue whose items are handed to consumers, with a lock per item (safe) or without (an item dies
 * with its consumer).
 */
public final class DistributedQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        boolean safe = stage.client.checkExists().forPath(stage.path("safe")) != null;
        QueueBuilder<String> builder =
                QueueBuilder.builder(
                        stage.client,
                        new Consumption(stage),
                        Consumption.TEXT,
                        stage.path("queue"));
        if (safe) {
            builder = builder.lockPath(stage.path("locks"));
        }
        try (DistributedQueue<String> queue = builder.buildQueue()) {
            queue.start();
            // The consumers produce too.
            for (String item : Queues.items(stage.id)) {
                if (!stage.isVictim()) {
                    queue.put(item);
                }
            }
            stage.await("stop");
        }
    }

    @Check
    public void withLocksNoItemIsLost() throws Exception {
        try (Contest contest = new Contest(DistributedQueueChecks.class);
                DistributedQueue<String> producer = producer(contest)) {
            contest.client.create().forPath(contest.path("safe"));
            List<String> items = produce(contest, producer);
            contest.killHolder();
            String held = Queues.heldByVictim(contest);
            Queues.eachDoneOnce(contest, items, List.of(), producer::put);
            Expect.equal(
                    2,
                    Collections.frequency(contest.history.details("took"), held),
                    "how often the victim's item was taken");
        }
    }

    @Check
    public void withoutLocksOnlyTheHeldItemIsLost() throws Exception {
        try (Contest contest = new Contest(DistributedQueueChecks.class);
                DistributedQueue<String> producer = producer(contest)) {
            List<String> items = produce(contest, producer);
            contest.killHolder();
            Queues.eachDoneOnce(contest, items, List.of(Queues.heldByVictim(contest)));
            Expect.equal(
                    List.of(),
                    contest.client.getChildren().forPath(contest.path("queue")),
                    "left in the queue");
        }
    }

    private static DistributedQueue<String> producer(Contest contest) throws Exception {
        DistributedQueue<String> producer =
                QueueBuilder.<String>builder(
                                contest.client, null, Consumption.TEXT, contest.path("queue"))
                        .buildQueue();
        producer.start();
        return producer;
    }

    private static List<String> produce(Contest contest, DistributedQueue<String> producer)
            throws Exception {
        contest.go();
        List<String> items = new ArrayList<>(Queues.items("p"));
        for (String item : items) {
            producer.put(item);
        }
        Expect.that(
                producer.flushPuts(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                "the puts did not get through");
        items.addAll(Queues.items("b"));
        items.addAll(Queues.items("c"));
        return items;
    }
}

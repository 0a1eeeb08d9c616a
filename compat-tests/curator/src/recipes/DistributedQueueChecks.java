package recipes;

import compat.Check;
import compat.Expect;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;

/** A queue whose items are handed to consumers, with a lock per item (safe) or without (an item dies with its consumer). */
public final class DistributedQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        boolean safe = stage.client.checkExists().forPath(stage.path("safe")) != null;
        QueueBuilder<String> builder = QueueBuilder.builder(stage.client, new Consumption(stage), Consumption.TEXT, stage.path("queue"));
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
        try (Contest contest = new Contest(DistributedQueueChecks.class)) {
            contest.client.create().forPath(contest.path("safe"));
            List<String> items = produce(contest);
            contest.killHolder();
            String held = Queues.heldByVictim(contest);
            Queues.eachDoneOnce(contest, items, List.of());
            Expect.equal(2, Collections.frequency(contest.history.details("took"), held), "how often the victim's item was taken");
            Expect.equal(List.of(), contest.client.getChildren().forPath(contest.path("queue")), "left in the queue");
        }
    }

    @Check
    public void withoutLocksOnlyTheHeldItemIsLost() throws Exception {
        try (Contest contest = new Contest(DistributedQueueChecks.class)) {
            List<String> items = produce(contest);
            contest.killHolder();
            Queues.eachDoneOnce(contest, items, List.of(Queues.heldByVictim(contest)));
            Expect.equal(List.of(), contest.client.getChildren().forPath(contest.path("queue")), "left in the queue");
        }
    }

    private static List<String> produce(Contest contest) throws Exception {
        List<String> items = new ArrayList<>(Queues.items("p"));
        items.addAll(Queues.items("b"));
        items.addAll(Queues.items("c"));
        try (DistributedQueue<String> producer = QueueBuilder.<String>builder(contest.client, null, Consumption.TEXT, contest.path("queue")).buildQueue()) {
            producer.start();
            contest.go();
            for (String item : Queues.items("p")) {
                producer.put(item);
            }
            Expect.that(producer.flushPuts(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS), "puts are through");
        }
        return items;
    }
}

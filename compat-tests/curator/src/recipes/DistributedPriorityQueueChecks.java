package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.state.ConnectionState;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;

/** A queue that gives the item with the lowest number first. */
public final class DistributedPriorityQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (DistributedPriorityQueue<String> queue =
                QueueBuilder.builder(
                                stage.client,
                                new Consumption(stage),
                                Consumption.TEXT,
                                stage.path("queue"))
                        .lockPath(stage.path("locks"))
                        .buildPriorityQueue(0)) {
            queue.start();
            stage.await("stop");
        }
    }

    @Check
    public void eachItemIsDoneOnceUnderContention() throws Exception {
        try (Contest contest = new Contest(DistributedPriorityQueueChecks.class);
                DistributedPriorityQueue<String> producer = producer(contest)) {
            produce(producer, Queues.items("i"));
            contest.go();
            contest.killHolder();
            Queues.eachDoneOnce(
                    contest, Queues.items("i"), List.of(), item -> producer.put(item, 0));
        }
    }

    @Check
    public void theMostUrgentComesFirst() throws Exception {
        try (Arena arena = new Arena();
                DistributedPriorityQueue<String> producer = producer(arena)) {
            List<String> items = new ArrayList<>(Queues.items("i"));
            Collections.shuffle(items, new Random(3));
            produce(producer, items);
            List<Integer> seen = Collections.synchronizedList(new ArrayList<>());
            QueueConsumer<String> consumer =
                    new QueueConsumer<>() {
                        @Override
                        public void consumeMessage(String item) {
                            seen.add(priority(item));
                        }

                        @Override
                        public void stateChanged(CuratorFramework client, ConnectionState state) {}
                    };
            try (DistributedPriorityQueue<String> queue =
                    QueueBuilder.builder(
                                    arena.client, consumer, Consumption.TEXT, arena.path("queue"))
                            .executor(Runnable::run)
                            .buildPriorityQueue(0)) {
                queue.start();
                Expect.becomes(Arena.WAIT_MILLIS, items.size(), "items seen", seen::size);
            }
            List<Integer> sorted = new ArrayList<>(seen);
            Collections.sort(sorted);
            Expect.equal(sorted, seen, "order of the priorities");
        }
    }

    private static DistributedPriorityQueue<String> producer(Arena arena) throws Exception {
        DistributedPriorityQueue<String> producer =
                QueueBuilder.<String>builder(
                                arena.client, null, Consumption.TEXT, arena.path("queue"))
                        .buildPriorityQueue(0);
        producer.start();
        return producer;
    }

    private static void produce(DistributedPriorityQueue<String> producer, List<String> items)
            throws Exception {
        for (String item : items) {
            producer.put(item, priority(item));
        }
        Expect.that(
                producer.flushPuts(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                "the puts did not get through");
    }

    /** Negative ones too: they sort before zero. */
    private static int priority(String item) {
        return Integer.parseInt(item.substring(1)) - Queues.ITEMS / 2;
    }
}

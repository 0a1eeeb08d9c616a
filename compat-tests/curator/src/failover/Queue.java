package failover;

import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueuePutListener;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;

import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** DistributedQueue with locks: each acknowledged item is consumed, at least once. */
final class Queue extends Recipe {
    private static final long DRAIN_MILLIS = 20_000;

    private static final QueueSerializer<String> TEXT =
            new QueueSerializer<>() {
                @Override
                public byte[] serialize(String item) {
                    return item.getBytes(StandardCharsets.UTF_8);
                }

                @Override
                public String deserialize(byte[] bytes) {
                    return new String(bytes, StandardCharsets.UTF_8);
                }
            };

    private final String root;
    private final Set<String> put = ConcurrentHashMap.newKeySet();
    private final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
    private final Map<String, Integer> consumed = new ConcurrentHashMap<>();

    Queue(String root) {
        this.root = root;
    }

    private String path() {
        return root + "/queue";
    }

    private final class Consumer implements QueueConsumer<String> {
        @Override
        public void consumeMessage(String item) {
            consumed.merge(item, 1, Integer::sum);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    /** Lets the one that put an item wait until that is acknowledged. */
    private final class Puts implements QueuePutListener<String> {
        private final Map<String, CountDownLatch> pending = new ConcurrentHashMap<>();

        @Override
        public void putCompleted(String item) {
            acknowledged.add(item);
            CountDownLatch latch = pending.remove(item);
            if (latch != null) {
                latch.countDown();
            }
        }

        @Override
        public void putMultiCompleted(org.apache.curator.framework.recipes.queue.MultiItem<String> items) {
            // One at a time is put here.
        }
    }

    @Override
    Work begin(User user) throws Exception {
        DistributedQueue<String> queue =
                QueueBuilder.builder(user.client, new Consumer(), TEXT, path())
                        .lockPath(root + "/queue-locks")
                        .buildQueue();
        Puts puts = new Puts();
        queue.getPutListenerContainer().addListener(puts);
        queue.start();
        return new Work() {
            private int number;

            @Override
            public boolean round() throws Exception {
                // Ends in a mark, so that no item's text begins another's.
                String item = user.id + "-" + number++ + ";";
                CountDownLatch done = new CountDownLatch(1);
                puts.pending.put(item, done);
                put.add(item);
                queue.put(item);
                return done.await(TURN_MILLIS, TimeUnit.MILLISECONDS);
            }

            @Override
            public void close() throws Exception {
                // Others may still put; this one takes until all is done.
                Expect.eventually(
                        DRAIN_MILLIS,
                        "the queue is worked off",
                        () -> user.client.getChildren().forPath(path()).size() <= user.cuts.get());
                queue.close();
            }
        };
    }

    @Override
    void checkAtEnd(List<User> users) throws Exception {
        CuratorFramework client = users.get(0).client;
        StringBuilder left = new StringBuilder();
        List<String> nodes = client.getChildren().forPath(path());
        for (String node : nodes) {
            left.append(TEXT.deserialize(client.getData().forPath(path() + "/" + node)));
        }
        Expect.that(!acknowledged.isEmpty(), "items were put");
        // An item whose lock was made as the connection went stays locked as long as the session.
        Expect.that(nodes.size() <= cuts(users), nodes.size() + " items are left in the queue");
        Collection<String> missing = new TreeSet<>(acknowledged);
        missing.removeIf(item -> consumed.containsKey(item) || left.indexOf(item) >= 0);
        Expect.equal(Set.of(), Set.copyOf(missing), "acknowledged items that nobody consumed");
        Collection<String> strange = new TreeSet<>(consumed.keySet());
        strange.removeAll(put);
        Expect.equal(Set.of(), Set.copyOf(strange), "consumed items that nobody put");
        // What was under way when a connection was cut, one put and one removal, may be done again.
        int again = consumed.values().stream().mapToInt(times -> times - 1).sum();
        Expect.that(
                again <= 2 * cuts(users),
                again + " items came again, with " + cuts(users) + " connections cut");
    }
}

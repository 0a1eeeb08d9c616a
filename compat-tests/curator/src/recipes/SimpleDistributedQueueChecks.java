package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;

import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.TimeUnit;

/** The queue of ZooKeeper's own recipes: first in, first out. */
public final class SimpleDistributedQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        SimpleDistributedQueue queue =
                new SimpleDistributedQueue(stage.client, stage.path("queue"));
        while (true) {
            String item = new String(queue.take());
            if (item.equals("stop")) {
                stage.await("stop");
                return;
            }
            stage.record("took " + item);
            stage.holdIfVictim();
            stage.record("did " + item);
        }
    }

    @Check
    public void eachItemIsTakenByOne() throws Exception {
        try (Contest contest = new Contest(SimpleDistributedQueueChecks.class)) {
            SimpleDistributedQueue queue =
                    new SimpleDistributedQueue(contest.client, contest.path("queue"));
            contest.go();
            for (String item : Queues.items("i")) {
                Expect.equal(true, queue.offer(item.getBytes()), "offer");
            }
            contest.killHolder();
            queue.offer("stop".getBytes());
            queue.offer("stop".getBytes());
            Queues.eachDoneOnce(contest, Queues.items("i"), List.of(Queues.heldByVictim(contest)));
            Expect.equal(null, queue.poll(), "left in the queue");
        }
    }

    @Check
    public void firstInIsFirstOut() throws Exception {
        try (Arena arena = new Arena()) {
            SimpleDistributedQueue queue =
                    new SimpleDistributedQueue(arena.client, arena.path("queue"));
            Expect.equal(null, queue.poll(200, TimeUnit.MILLISECONDS), "poll of an empty queue");
            for (String item : Queues.items("i")) {
                queue.offer(item.getBytes());
            }
            Expect.equal("i0", new String(queue.peek()), "peek");
            Expect.equal("i0", new String(queue.element()), "element");
            for (String item : Queues.items("i")) {
                Expect.equal(item, new String(queue.remove()), "remove");
            }
            try {
                queue.remove();
                throw new AssertionError("remove from an empty queue returned");
            } catch (NoSuchElementException e) {
                Expect.equal(null, queue.peek(), "peek into an empty queue");
            }
        }
    }
}

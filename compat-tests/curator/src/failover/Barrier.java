package failover;

import compat.Expect;

import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** DistributedDoubleBarrier: nobody is in before all came, and nobody out before all want to go. */
final class Barrier extends Recipe {
    private static final long WAIT_MILLIS = 10_000;

    /** How long after the others one comes, and wants to go: they must wait for it. */
    private static final long LATE_MILLIS = 50;

    private final String root;
    private int begun;
    private int broken;

    Barrier(String root) {
        this.root = root;
    }

    @Override
    Work begin(User user) {
        throw new UnsupportedOperationException("a barrier is used by all together");
    }

    /** All go through one barrier after the other, together: one work for all. */
    @Override
    List<Work> begin(List<User> users) {
        ExecutorService threads = Executors.newFixedThreadPool(users.size());
        return List.of(
                new Work() {
                    @Override
                    public boolean round() throws Exception {
                        boolean passed = pass(users, threads);
                        broken += passed ? 0 : 1;
                        return passed;
                    }

                    @Override
                    public void close() {
                        threads.shutdown();
                    }
                });
    }

    /** Whether somebody got in and out, and how many had come and wanted to go by then. */
    private record Passage(boolean in, int came, boolean out, int going) {}

    private boolean pass(List<User> users, ExecutorService threads) throws Exception {
        String path = root + "/barrier-" + begun;
        User late = users.get(begun++ % users.size());
        AtomicInteger came = new AtomicInteger();
        AtomicInteger going = new AtomicInteger();
        List<Callable<Passage>> passages = new ArrayList<>();
        for (User user : users) {
            DistributedDoubleBarrier barrier =
                    new DistributedDoubleBarrier(user.client, path, users.size());
            long delay = user == late ? LATE_MILLIS : 0;
            passages.add(() -> pass(barrier, delay, came, going));
        }
        List<Passage> passed = new ArrayList<>();
        for (Future<Passage> one : threads.invokeAll(passages)) {
            try {
                passed.add(one.get());
            } catch (ExecutionException e) {
                // Its connection was cut as it came or went, which the recipe does not hide.
            }
        }
        int size = users.size();
        boolean allIn = passed.size() == size && passed.stream().allMatch(Passage::in);
        for (Passage one : passed) {
            if (one.in && one.came < size) {
                wrong(path + " let somebody in after " + one.came);
            }
            // Somebody who gave up goes without having wanted to.
            if (allIn && one.out && one.going < size) {
                wrong(path + " let somebody out after " + one.going);
            }
        }
        return allIn && passed.stream().allMatch(Passage::out);
    }

    private static Passage pass(
            DistributedDoubleBarrier barrier,
            long delayMillis,
            AtomicInteger came,
            AtomicInteger going)
            throws Exception {
        Thread.sleep(delayMillis);
        came.incrementAndGet();
        boolean in = barrier.enter(WAIT_MILLIS, TimeUnit.MILLISECONDS);
        int cameBy = came.get();
        if (!in) {
            return new Passage(false, cameBy, false, 0);
        }
        Thread.sleep(WORK_MILLIS + delayMillis);
        going.incrementAndGet();
        boolean out = barrier.leave(WAIT_MILLIS, TimeUnit.MILLISECONDS);
        return new Passage(true, cameBy, out, going.get());
    }

    @Override
    void checkAtEnd(List<User> users) {
        Expect.that(
                broken <= cuts(users),
                broken + " barriers not passed, with " + cuts(users) + " connections cut");
    }
}

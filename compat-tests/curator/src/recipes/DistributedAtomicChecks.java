package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.retry.RetryNTimes;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;

/**
 * DistributedAtomicLong, DistributedAtomicInteger and DistributedAtomicValue: each success is a
 * value of its own.
 */
public final class DistributedAtomicChecks implements Contestant {
    private static final int ROUNDS = 15;

    /** Two optimistic tries only, so that the promotion to a lock is used as well. */
    private static DistributedAtomicLong promotedLong(Stage stage) {
        PromotedToLock lock =
                PromotedToLock.builder()
                        .lockPath(stage.path("lock"))
                        .retryPolicy(new ExponentialBackoffRetry(10, 5))
                        .timeout(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS)
                        .build();
        return new DistributedAtomicLong(
                stage.client, stage.path("long"), new RetryNTimes(2, 5), lock);
    }

    @Override
    public void compete(Stage stage) throws Exception {
        DistributedAtomicLong number = promotedLong(stage);
        DistributedAtomicInteger integer =
                new DistributedAtomicInteger(
                        stage.client, stage.path("integer"), new ExponentialBackoffRetry(5, 10));
        DistributedAtomicValue value =
                new DistributedAtomicValue(
                        stage.client, stage.path("value"), new RetryNTimes(0, 0));
        for (int round = 0; round < ROUNDS; round++) {
            stage.tellIfVictim();
            AtomicValue<Long> one = number.increment();
            Expect.that(one.succeeded(), "a promoted increment failed");
            stage.record("long " + one.postValue());
            Expect.equal(one.preValue() + 1, one.postValue(), "value after");

            AtomicValue<Integer> two;
            do {
                two = integer.add(2);
            } while (!two.succeeded());
            stage.record("integer " + two.postValue());

            boolean swapped = false;
            while (!swapped) {
                byte[] seen = value.get().postValue();
                swapped =
                        value.compareAndSet(seen, (new String(seen) + stage.id).getBytes())
                                .succeeded();
            }
            stage.record("value");
        }
    }

    @Check
    public void everySuccessIsAValueOfItsOwn() throws Exception {
        try (Contest contest = new Contest(DistributedAtomicChecks.class)) {
            contest.client.create().forPath(contest.path("value"), "".getBytes());
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            ExponentialBackoffRetry retry = new ExponentialBackoffRetry(10, 5);
            long longs =
                    new DistributedAtomicLong(contest.client, contest.path("long"), retry)
                            .get()
                            .postValue();
            distinct(contest.history.details("long"), longs, 1);
            int integers =
                    new DistributedAtomicInteger(contest.client, contest.path("integer"), retry)
                            .get()
                            .postValue();
            distinct(contest.history.details("integer"), integers, 2);
            int letters = contest.client.getData().forPath(contest.path("value")).length;
            oneMoreAtMost(contest.history.lines("value").size(), letters, "letters");
            for (String id : contest.children.keySet()) {
                Expect.equal(
                        (long) ROUNDS,
                        contest.history.lines("value").stream()
                                .filter(line -> line.who().equals(id))
                                .count(),
                        "rounds of " + id);
            }
        }
    }

    /** The killed process may have died between its last success and telling of it. */
    private static void oneMoreAtMost(long told, long counted, String what) {
        Expect.that(
                counted == told || counted == told + 1,
                what + ": " + told + " told, " + counted + " counted");
    }

    private static void distinct(List<String> told, long last, int step) {
        List<Long> values = new ArrayList<>(told.stream().map(Long::valueOf).toList());
        oneMoreAtMost(values.size(), last / step, "successes");
        List<Long> missing =
                new ArrayList<>(
                        LongStream.rangeClosed(1, last / step).map(n -> n * step).boxed().toList());
        missing.removeAll(values);
        Collections.sort(values);
        Expect.equal(values.stream().distinct().toList(), values, "values told twice");
        Expect.equal(
                last / step - values.size(),
                (long) missing.size(),
                "values nobody told of: " + missing);
    }

    @Check
    public void setsAndComparisons() throws Exception {
        try (Arena arena = new Arena()) {
            DistributedAtomicLong number =
                    new DistributedAtomicLong(
                            arena.client, arena.path("n"), new RetryNTimes(3, 10));
            Expect.equal(true, number.initialize(5L), "the first initialize");
            Expect.equal(false, number.initialize(6L), "the second initialize");
            Expect.equal(
                    false, number.compareAndSet(4L, 9L).succeeded(), "compare with a wrong value");
            Expect.equal(
                    true, number.compareAndSet(5L, 9L).succeeded(), "compare with the right value");
            Expect.equal(7L, number.subtract(2L).postValue(), "after subtract");
            Expect.equal(6L, number.decrement().postValue(), "after decrement");
            number.forceSet(100L);
            Expect.equal(100L, number.get().postValue(), "after forceSet");
        }
    }
}

package meerkat.kafka;

import java.time.Duration;
import java.util.Objects;

/** Runs named tests in order, prints a line for each, counts; and waits for conditions. */
final class Suite {
    /** Every wait in these tests ends after this; the slowest thing waited for is a broker's start. */
    static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final Duration POLL = Duration.ofMillis(100);

    private int passed;
    private int failed;

    interface Test {
        void run() throws Exception;
    }

    interface Probe<T> {
        T look() throws Exception;
    }

    /** True when the test passed. */
    boolean test(String name, Test body) {
        long began = System.nanoTime();
        try {
            body.run();
            passed++;
            System.out.printf("ok      %s (%.1f s)%n", name, secondsSince(began));
            return true;
        } catch (Exception | AssertionError problem) {
            failed++;
            System.out.printf("FAILED  %s (%.1f s): %s%n", name, secondsSince(began), problem);
            problem.printStackTrace();
            return false;
        }
    }

    /** Prints the totals, after the advice when something failed; true when nothing did. */
    boolean finish(String advice) {
        if (failed > 0) {
            System.out.println(advice);
        }
        System.out.printf("%d passed, %d failed%n", passed, failed);
        return failed == 0 && passed > 0;
    }

    /** Looks again and again until the probe says true; a probe's exception counts as "not yet". */
    static void await(String what, Probe<Boolean> probe) throws InterruptedException {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        Exception last = null;
        while (System.nanoTime() < deadline) {
            try {
                if (probe.look()) {
                    return;
                }
                last = null;
            } catch (InterruptedException stop) {
                throw stop;
            } catch (Exception notYet) {
                last = notYet;
            }
            Thread.sleep(POLL.toMillis());
        }
        throw new AssertionError("waited " + PATIENCE.toSeconds() + " s in vain: " + what, last);
    }

    static void check(String what, boolean holds) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(String what, Object expected, Object actual) {
        check(what + ": expected " + expected + ", got " + actual, Objects.equals(expected, actual));
    }

    /** The cause of the wanted kind that the call must end with. */
    static <E extends Throwable> void fails(Class<E> kind, String what, Test body) {
        try {
            body.run();
        } catch (Exception problem) {
            for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
                if (kind.isInstance(cause)) {
                    return;
                }
            }
            throw new AssertionError(what + ": expected " + kind.getSimpleName(), problem);
        }
        throw new AssertionError(what + ": expected " + kind.getSimpleName() + ", nothing failed");
    }

    private static double secondsSince(long began) {
        return (System.nanoTime() - began) / 1e9;
    }
}

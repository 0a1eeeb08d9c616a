package compat;

import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** Assertions. Each message says what was expected and what came. */
public final class Expect {
    private static final long POLL_MILLIS = 20;

    private Expect() {}

    /** A condition that may need the server's help. */
    public interface Condition {
        boolean holds() throws Exception;
    }

    /** A value that may need the server's help. */
    public interface Value<T> {
        T get() throws Exception;
    }

    public static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    public static void equal(Object expected, Object got, String what) {
        if (!Objects.deepEquals(expected, got)) {
            throw new AssertionError(what + ": expected " + show(expected) + ", got " + show(got));
        }
    }

    /** Polls until the condition holds. */
    public static void eventually(long limitMillis, String what, Condition condition)
            throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(limitMillis);
        while (!condition.holds()) {
            if (System.nanoTime() - deadline > 0) {
                throw new AssertionError("not within " + limitMillis + " ms: " + what);
            }
            Thread.sleep(POLL_MILLIS);
        }
    }

    /** Polls until the value is the expected one; the message tells the last value seen. */
    public static <T> void becomes(long limitMillis, T expected, String what, Value<T> value)
            throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(limitMillis);
        for (T got = value.get(); !Objects.deepEquals(expected, got); got = value.get()) {
            if (System.nanoTime() - deadline > 0) {
                equal(expected, got, what + ", after " + limitMillis + " ms");
            }
            Thread.sleep(POLL_MILLIS);
        }
    }

    private static String show(Object value) {
        if (value instanceof byte[]) {
            byte[] bytes = (byte[]) value;
            return bytes.length > 64 ? bytes.length + " bytes" : Arrays.toString(bytes);
        }
        return value instanceof Object[]
                ? Arrays.deepToString((Object[]) value)
                : String.valueOf(value);
    }
}

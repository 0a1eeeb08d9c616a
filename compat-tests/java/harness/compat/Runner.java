package compat;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs every {@link Check} of the classes named on the command line and prints a line per check.
 *
 * <p>System properties: {@code compat.workers} checks at a time (default 3), {@code compat.label} a
 * word put before each name, {@code compat.only} runs the checks whose name contains it, and {@code
 * compat.tally} a file that receives "PASSED FAILED" for a calling script to add up.
 */
public final class Runner {
    private static final int FRAMES_SHOWN = 6;

    private final String label = System.getProperty("compat.label", "");
    private int passed;
    private int failed;

    public static void main(String[] classNames) throws Exception {
        System.exit(new Runner().run(classNames) ? 0 : 1);
    }

    private boolean run(String[] classNames) throws Exception {
        List<Method> checks = find(classNames);
        ExecutorService workers =
                Executors.newFixedThreadPool(
                        Integer.getInteger("compat.workers", 3), Runner::daemon);
        ExecutorService waiters = Executors.newCachedThreadPool(Runner::daemon);
        List<Future<?>> running = new ArrayList<>();
        for (Method check : checks) {
            boolean waits = check.getAnnotation(Check.class).waits();
            running.add((waits ? waiters : workers).submit(() -> runOne(check)));
        }
        for (Future<?> one : running) {
            one.get();
        }
        String tally = System.getProperty("compat.tally");
        if (tally == null) {
            System.out.println(passed + " passed, " + failed + " failed");
        } else {
            Files.write(
                    Path.of(tally),
                    (passed + " " + failed + "\n").getBytes(StandardCharsets.UTF_8));
        }
        return failed == 0 && passed > 0;
    }

    private static List<Method> find(String[] classNames) throws ClassNotFoundException {
        String only = System.getProperty("compat.only", "");
        List<Method> checks = new ArrayList<>();
        for (String className : classNames) {
            Method[] methods = Class.forName(className).getMethods();
            Arrays.stream(methods)
                    .filter(method -> method.isAnnotationPresent(Check.class))
                    .filter(method -> name(method).contains(only))
                    .sorted(Comparator.comparing(Method::getName))
                    .forEach(checks::add);
        }
        checks.sort(Comparator.comparing(method -> !method.getAnnotation(Check.class).waits()));
        return checks;
    }

    private void runOne(Method check) {
        long started = System.nanoTime();
        Throwable failure = callWithLimit(check);
        long millis = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - started);
        report(check, failure, millis);
    }

    /** A check that hangs leaves its (daemon) thread behind, so that the rest still run. */
    private static Throwable callWithLimit(Method check) {
        int limitSeconds = check.getAnnotation(Check.class).limitSeconds();
        ExecutorService alone = Executors.newSingleThreadExecutor(Runner::daemon);
        Callable<Object> call =
                () ->
                        check.invoke(
                                check.getDeclaringClass().getDeclaredConstructor().newInstance());
        Future<Object> result = alone.submit(call);
        try {
            result.get(limitSeconds, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException e) {
            Throwable cause = e.getCause();
            return cause instanceof InvocationTargetException ? cause.getCause() : cause;
        } catch (TimeoutException e) {
            result.cancel(true);
            return new AssertionError("not finished after " + limitSeconds + " s");
        } catch (InterruptedException e) {
            return e;
        } finally {
            alone.shutdown();
        }
    }

    private synchronized void report(Method check, Throwable failure, long millis) {
        if (failure == null) {
            passed++;
            System.out.println("ok    " + label + name(check) + " (" + millis + " ms)");
        } else {
            failed++;
            System.out.println("FAIL  " + label + name(check) + " (" + millis + " ms)");
            printCause(failure);
        }
        System.out.flush();
    }

    private static void printCause(Throwable failure) {
        for (Throwable one = failure; one != null; one = one.getCause()) {
            System.out.println("      " + one);
            Arrays.stream(one.getStackTrace())
                    .limit(FRAMES_SHOWN)
                    .forEach(frame -> System.out.println("        at " + frame));
        }
    }

    private static String name(Method check) {
        return check.getDeclaringClass().getSimpleName() + "." + check.getName();
    }

    private static Thread daemon(Runnable body) {
        Thread thread = new Thread(body, "check");
        thread.setDaemon(true);
        return thread;
    }
}

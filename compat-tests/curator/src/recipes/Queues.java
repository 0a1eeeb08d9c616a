package recipes;

import compat.Expect;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;

/** What the queue checks have in common: numbered items, and the account of them. */
final class Queues {
    static final int ITEMS = 60;
    private static final String WAKE = "wake";
    private static final long WAKE_MILLIS = 250;

    private Queues() {}

    static List<String> items(String name) {
        List<String> items = new ArrayList<>();
        for (int i = 0; i < ITEMS; i++) {
            items.add(name + i);
        }
        return items;
    }

    /**
     * Waits until each item is done; then stops the living and demands that none was done twice or
     * made up.
     */
    static void eachDoneOnce(Contest contest, Collection<String> items, Collection<String> lost)
            throws Exception {
        eachDoneOnce(contest, items, lost, item -> {});
    }

    /**
     * The same for queues with a lock per item. Their consumers look again only when the queue has
     * changed: the item of a killed consumer is taken up, once its lock has expired, at the next
     * put.
     */
    static void eachDoneOnce(
            Contest contest, Collection<String> items, Collection<String> lost, Putter putter)
            throws Exception {
        Set<String> wanted = new TreeSet<>(items);
        wanted.removeAll(lost);
        long started = System.nanoTime();
        for (int wake = 0; !wanted.equals(new TreeSet<>(done(contest))); wake++) {
            if (System.nanoTime() - started > TimeUnit.MILLISECONDS.toNanos(Arena.WAIT_MILLIS)) {
                Set<String> missing = new TreeSet<>(wanted);
                missing.removeAll(done(contest));
                throw new AssertionError("items never done: " + missing);
            }
            putter.put(WAKE + wake);
            TimeUnit.MILLISECONDS.sleep(WAKE_MILLIS);
        }
        contest.tell("stop");
        contest.awaitOthers();
        List<String> did = done(contest);
        did.sort(null);
        Expect.equal(new ArrayList<>(wanted), did, "items done");
    }

    private static List<String> done(Contest contest) throws Exception {
        List<String> done = new ArrayList<>(contest.history.details("did"));
        done.removeIf(item -> item.startsWith(WAKE));
        return done;
    }

    interface Putter {
        void put(String item) throws Exception;
    }

    /** The item the victim was killed with. */
    static String heldByVictim(Contest contest) throws Exception {
        Set<String> took = new TreeSet<>(taken(contest, Contest.VICTIM, "took"));
        took.removeAll(taken(contest, Contest.VICTIM, "did"));
        Expect.equal(1, took.size(), "items held by the victim");
        return took.iterator().next();
    }

    static List<String> taken(Contest contest, String who, String what) throws Exception {
        return contest.history.lines(what).stream()
                .filter(line -> line.who().equals(who))
                .map(line -> line.what().substring(what.length() + 1))
                .toList();
    }
}

package recipes;

import compat.Expect;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** What the queue checks have in common: numbered items, and the account of them. */
final class Queues {
    static final int ITEMS = 60;

    private Queues() {}

    static List<String> items(String name) {
        List<String> items = new ArrayList<>();
        for (int i = 0; i < ITEMS; i++) {
            items.add(name + i);
        }
        return items;
    }

    /** Waits until each item is done; then stops the living and demands that none was done twice or made up. */
    static void eachDoneOnce(Contest contest, Collection<String> items, Collection<String> lost) throws Exception {
        Set<String> wanted = new TreeSet<>(items);
        wanted.removeAll(lost);
        try {
            Expect.eventually(Arena.WAIT_MILLIS, "all items done", () -> contest.history.details("did").size() >= wanted.size() && new HashSet<>(contest.history.details("did")).containsAll(wanted));
        } catch (AssertionError e) {
            Set<String> missing = new TreeSet<>(wanted);
            missing.removeAll(contest.history.details("did"));
            throw new AssertionError("items never done: " + missing, e);
        }
        contest.tell("stop");
        contest.awaitOthers();
        List<String> did = new ArrayList<>(contest.history.details("did"));
        did.sort(null);
        Expect.equal(new ArrayList<>(wanted), did, "items done");
    }

    /** The item the victim was killed with. */
    static String heldByVictim(Contest contest) throws Exception {
        Set<String> took = new TreeSet<>(taken(contest, Contest.VICTIM, "took"));
        took.removeAll(taken(contest, Contest.VICTIM, "did"));
        Expect.equal(1, took.size(), "items held by the victim");
        return took.iterator().next();
    }

    static List<String> taken(Contest contest, String who, String what) throws Exception {
        return contest.history.lines(what).stream().filter(line -> line.who().equals(who)).map(line -> line.what().substring(what.length() + 1)).toList();
    }
}

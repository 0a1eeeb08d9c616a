package failover;

import java.util.List;
import java.util.TreeSet;

/** The values that a counter went through, as those were told who counted. */
final class Numbers {
    private final Recipe recipe;
    private final TreeSet<Long> acknowledged = new TreeSet<>();

    Numbers(Recipe recipe) {
        this.recipe = recipe;
    }

    /** Two with the same value: one of them counted for nothing. */
    synchronized void add(String who, long value) {
        if (!acknowledged.add(value)) {
            recipe.wrong(who + " is told " + value + ", which another was told before");
        }
    }

    /**
     * The last one told is what is there, and between 1 and it all were told but for those whose
     * answer went with a connection.
     */
    synchronized void check(long value, List<User> users) {
        if (acknowledged.isEmpty() || acknowledged.last() != value) {
            throw new AssertionError(
                    "it is " + value + ", the highest told was " + acknowledged.pollLast());
        }
        long untold = value - acknowledged.size();
        if (untold < 0 || untold > Recipe.cuts(users)) {
            throw new AssertionError(
                    untold + " values told nobody, with " + Recipe.cuts(users) + " connections cut");
        }
    }
}

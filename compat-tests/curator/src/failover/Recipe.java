package failover;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** One of Curator's recipes, used by several users at once, and what has to be true of it. */
abstract class Recipe {
    /** How long a user waits for its turn before it tries again. */
    static final long TURN_MILLIS = 20_000;

    /** What a user does with what it has got. */
    static final long WORK_MILLIS = 5;

    private final List<String> wrongs = Collections.synchronizedList(new ArrayList<>());

    /** What one user repeats until the end. */
    interface Work extends AutoCloseable {
        /** Returns whether it got through; may also throw when it did not. */
        boolean round() throws Exception;

        @Override
        default void close() throws Exception {}
    }

    /** Users work beside each other, for most recipes each by itself. */
    List<Work> begin(List<User> users) throws Exception {
        List<Work> works = new ArrayList<>();
        for (User user : users) {
            works.add(begin(user));
        }
        return works;
    }

    abstract Work begin(User user) throws Exception;

    /** Called while users rest for a moment, after each disturbance. */
    void checkAtRest() throws Exception {}

    /** Called when all works are over and their last rounds got through. */
    void checkAtEnd(List<User> users) throws Exception {}

    /** Notes what must not happen. */
    void wrong(String what) {
        wrongs.add(what);
    }

    void nothingWrong() {
        synchronized (wrongs) {
            if (!wrongs.isEmpty()) {
                throw new AssertionError(wrongs.size() + " times, first: " + wrongs.get(0));
            }
        }
    }

    static int cuts(List<User> users) {
        return users.stream().mapToInt(user -> user.cuts.get()).sum();
    }
}

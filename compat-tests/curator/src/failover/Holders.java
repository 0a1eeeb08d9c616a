package failover;

import java.util.ArrayList;
import java.util.List;

/** What locks protect, outside of the servers: sees who holds it, and together with whom. */
final class Holders {
    private final Recipe recipe;
    private final int limit;
    private final List<String> inside = new ArrayList<>();
    private boolean alone;
    private long highestToken = -1;

    Holders(Recipe recipe, int limit) {
        this.recipe = recipe;
        this.limit = limit;
    }

    synchronized void enter(String who) {
        enter(who, false);
    }

    /** {@code exclusive}: nobody else may be inside until it leaves. */
    synchronized void enter(String who, boolean exclusive) {
        if (alone || inside.size() == limit || (exclusive && !inside.isEmpty())) {
            recipe.wrong(who + " came in to " + inside);
        }
        inside.add(who);
        alone = exclusive;
    }

    synchronized void leave(String who) {
        inside.remove(who);
        alone = false;
    }

    /** Holders come in the order of their tokens: one that comes late is known by its token. */
    synchronized void present(String who, long token) {
        if (token < highestToken) {
            recipe.wrong(who + " came with " + token + " after " + highestToken);
        }
        highestToken = Math.max(highestToken, token);
    }
}

package failover;

/** Repeats one work on a thread of its own and counts the rounds that got through. */
final class Worker {
    /** Between two rounds, so that all recipes get their share of a small machine. */
    private static final long PACE_MILLIS = 100;

    final Recipe recipe;
    private final String name;
    private final Recipe.Work work;
    private final Thread thread;
    private volatile boolean ending;
    private volatile int rounds;
    private volatile Exception last;

    Worker(Recipe recipe, int number, Recipe.Work work) {
        this.recipe = recipe;
        this.name = recipe.getClass().getSimpleName() + " " + number;
        this.work = work;
        thread = new Thread(this::drive, name);
        thread.setDaemon(true);
        thread.start();
    }

    private void drive() {
        while (!ending) {
            try {
                if (work.round()) {
                    rounds++;
                }
                Thread.sleep(PACE_MILLIS);
            } catch (Exception e) {
                // What it means to the recipe is checked by it; rounds have to go on.
                last = e;
            }
        }
    }

    int rounds() {
        return rounds;
    }

    void end() {
        ending = true;
    }

    /** Waits for the last round. */
    void join(long limitMillis) throws InterruptedException {
        thread.join(limitMillis);
        if (thread.isAlive()) {
            throw new AssertionError(this + " does not end");
        }
    }

    void close() throws Exception {
        work.close();
    }

    @Override
    public String toString() {
        return name + " (" + rounds + " rounds" + (last == null ? ")" : ", lately " + last + ")");
    }
}

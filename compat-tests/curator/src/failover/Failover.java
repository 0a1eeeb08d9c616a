package failover;

import compat.Control;
import compat.Disturbance;
import compat.Expect;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/**
 * Three users keep using Curator's recipes while the servers of an ensemble are killed, paused,
 * restarted and wiped. After each disturbance all of them get on; at the end everything that was
 * acknowledged is there, and no session was lost.
 */
public final class Failover {
    private static final Duration PAUSE = User.SESSION.plusSeconds(3);
    private static final long PATIENCE_MILLIS = 60_000;

    /** Rounds that each work has to get through after a disturbance. */
    private static final int ROUNDS = 2;

    private final Control control = new Control();
    private final User reader;
    private final List<User> users = new ArrayList<>();
    private final List<Recipe> recipes;
    private final Members members;
    private final List<Worker> workers = new ArrayList<>();
    private final String root = "/failover-" + UUID.randomUUID();
    private int passed;
    private int failed;

    private interface Body {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        new Failover(System.getenv("ZK_CONNECT")).run(Integer.parseInt(arguments[0]));
    }

    private Failover(String connect) throws Exception {
        reader = new User("reader", connect);
        for (String id : new String[] {"a", "b", "c"}) {
            users.add(new User(id, connect));
        }
        reader.client.create().forPath(root);
        members = new Members(root, reader.client);
        recipes =
                List.of(
                        new Mutex(root),
                        new Semaphore(root),
                        new ReadWriteLock(root),
                        new Latch(root),
                        new Selector(root),
                        new AtomicLong(root),
                        new Count(root),
                        new Queue(root),
                        new Caches(root, reader.client),
                        members,
                        new Barrier(root));
    }

    private void run(int times) throws Exception {
        for (Recipe recipe : recipes) {
            for (Recipe.Work work : recipe.begin(users)) {
                workers.add(new Worker(recipe, workers.size(), work));
            }
        }
        check("all recipes are used", this::workOn);
        for (int time = 0; time < times; time++) {
            for (Disturbance disturbance : Disturbance.values()) {
                check(disturbance.toString(), () -> live(disturbance));
            }
        }
        workers.forEach(Worker::end);
        check("all works end", this::join);
        for (Recipe recipe : recipes) {
            check(recipe.getClass().getSimpleName(), () -> end(recipe));
        }
        check("no session of a client that ran was lost", this::sessionsAreKept);
        users.forEach(User::close);
        check("members go with their sessions", members::allGo);
        reader.client.delete().deletingChildrenIfNeeded().forPath(root);
        reader.close();
        int rounds = workers.stream().mapToInt(Worker::rounds).sum();
        System.out.println(rounds + " rounds, " + Recipe.cuts(users) + " connections cut");
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private void check(String name, Body body) {
        long began = System.nanoTime();
        String failure = null;
        try {
            body.run();
            passed++;
        } catch (Exception | AssertionError e) {
            failed++;
            failure = e.toString();
        }
        long millis = (System.nanoTime() - began) / 1_000_000;
        String took = name + " (" + millis + " ms)";
        System.out.println(failure == null ? "ok    " + took : "FAIL  " + took + ": " + failure);
    }

    private void live(Disturbance disturbance) throws Exception {
        disturbance.happen(control, PAUSE, this::workOn);
        control.say("wait");
        for (Recipe recipe : recipes) {
            recipe.nothingWrong();
            recipe.checkAtRest();
        }
        sessionsAreKept();
    }

    private void workOn() throws Exception {
        Map<Worker, Integer> goals = new HashMap<>();
        workers.forEach(worker -> goals.put(worker, worker.rounds() + ROUNDS));
        try {
            Expect.eventually(
                    PATIENCE_MILLIS,
                    "all get on",
                    () -> workers.stream().allMatch(one -> one.rounds() >= goals.get(one)));
        } catch (AssertionError e) {
            List<Worker> behind = new ArrayList<>(workers);
            behind.removeIf(one -> one.rounds() >= goals.get(one));
            throw new AssertionError("these do not get on: " + behind, e);
        }
    }

    private void join() throws InterruptedException {
        for (Worker worker : workers) {
            worker.join(PATIENCE_MILLIS);
        }
    }

    private void end(Recipe recipe) throws Exception {
        recipe.checkAtRest();
        for (Worker worker : workers) {
            if (worker.recipe == recipe) {
                worker.close();
            }
        }
        recipe.nothingWrong();
        recipe.checkAtEnd(users);
    }

    private void sessionsAreKept() throws Exception {
        for (User user : users) {
            Expect.that(user.hasItsSession(), user.id + " has lost its session");
        }
        Expect.that(reader.hasItsSession(), "the reader has lost its session");
    }
}

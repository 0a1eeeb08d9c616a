package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.shared.SharedCount;

import java.util.Collection;
import java.util.concurrent.TimeUnit;

/** A counting semaphore: two leases, three processes. */
public final class InterProcessSemaphoreV2Checks implements Contestant {
    private static final int LEASES = 2;
    private static final long INSIDE_MILLIS = 20;

    @Override
    public void compete(Stage stage) throws Exception {
        InterProcessSemaphoreV2 semaphore =
                new InterProcessSemaphoreV2(stage.client, stage.path("semaphore"), LEASES);
        for (int round = 0; round < Stage.ROUNDS; round++) {
            Lease lease = semaphore.acquire();
            stage.record("enter");
            stage.holdIfVictim();
            Thread.sleep(INSIDE_MILLIS);
            stage.record("leave");
            semaphore.returnLease(lease);
        }
    }

    @Check
    public void twoMayEnterAndTheLeaseOfAKilledOneComesBack() throws Exception {
        try (Contest contest = new Contest(InterProcessSemaphoreV2Checks.class)) {
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            Expect.equal(
                    LEASES,
                    contest.history.insideAtMost(LEASES, Contest.HELD_MILLIS),
                    "most inside at once");
            InterProcessSemaphoreV2 semaphore =
                    new InterProcessSemaphoreV2(contest.client, contest.path("semaphore"), LEASES);
            Collection<Lease> all =
                    semaphore.acquire(LEASES, Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            Expect.that(all != null, "the killed process still has its lease");
            Expect.equal(null, semaphore.acquire(300, TimeUnit.MILLISECONDS), "one lease too many");
            semaphore.returnAll(all);
        }
    }

    @Check
    public void theNumberOfLeasesCanBeShared() throws Exception {
        try (Arena arena = new Arena();
                SharedCount leases = new SharedCount(arena.client, arena.path("leases"), 1)) {
            leases.start();
            InterProcessSemaphoreV2 semaphore =
                    new InterProcessSemaphoreV2(arena.client, arena.path("semaphore"), leases);
            Lease first = semaphore.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            Expect.that(first != null, "the first lease");
            Expect.equal(
                    null, semaphore.acquire(300, TimeUnit.MILLISECONDS), "a second lease of one");
            leases.setCount(2);
            Lease second = semaphore.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            Expect.that(second != null, "a second lease of two");
            semaphore.returnLease(first);
            semaphore.returnLease(second);
        }
    }
}

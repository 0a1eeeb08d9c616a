package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;

import java.util.concurrent.TimeUnit;

/** A lock that is not re-entrant. */
public final class InterProcessSemaphoreMutexChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        InterProcessSemaphoreMutex lock =
                new InterProcessSemaphoreMutex(stage.client, stage.path("lock"));
        for (int round = 0; round < Stage.ROUNDS; round++) {
            lock.acquire();
            stage.critical();
            lock.release();
        }
    }

    @Check
    public void excludesOthersAndPassesOnWhenTheHolderIsKilled() throws Exception {
        try (Contest contest = new Contest(InterProcessSemaphoreMutexChecks.class)) {
            contest.exclusive();
        }
    }

    @Check
    public void doesNotLetItsOwnThreadInTwice() throws Exception {
        try (Arena arena = new Arena()) {
            InterProcessSemaphoreMutex lock =
                    new InterProcessSemaphoreMutex(arena.client, arena.path("lock"));
            InterProcessSemaphoreMutex again =
                    new InterProcessSemaphoreMutex(arena.client, arena.path("lock"));
            lock.acquire();
            Expect.equal(
                    false,
                    again.acquire(300, TimeUnit.MILLISECONDS),
                    "acquired while held by the same thread");
            lock.release();
            Expect.equal(
                    true,
                    again.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "acquired when free");
            again.release();
        }
    }
}

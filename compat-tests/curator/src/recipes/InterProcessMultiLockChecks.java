package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** Several locks taken as one: all of them or none. */
public final class InterProcessMultiLockChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        InterProcessLock middle = new InterProcessMutex(stage.client, stage.path("lock2"));
        // One of the three asks for a single lock of the set: that too must keep the others out.
        InterProcessLock lock =
                stage.id.equals("c")
                        ? middle
                        : new InterProcessMultiLock(
                                List.of(
                                        new InterProcessMutex(stage.client, stage.path("lock1")),
                                        middle,
                                        new InterProcessSemaphoreMutex(
                                                stage.client, stage.path("lock3"))));
        for (int round = 0; round < Stage.ROUNDS; round++) {
            lock.acquire();
            stage.critical();
            lock.release();
        }
    }

    @Check
    public void excludesOthersAndPassesOnWhenTheHolderIsKilled() throws Exception {
        try (Contest contest = new Contest(InterProcessMultiLockChecks.class)) {
            contest.exclusive();
        }
    }

    @Check
    public void takesNoneWhenOneIsHeld() throws Exception {
        try (Arena arena = new Arena()) {
            InterProcessSemaphoreMutex held =
                    new InterProcessSemaphoreMutex(arena.client, arena.path("lock2"));
            held.acquire();
            InterProcessMultiLock all =
                    new InterProcessMultiLock(
                            List.of(
                                    new InterProcessSemaphoreMutex(
                                            arena.client, arena.path("lock1")),
                                    new InterProcessSemaphoreMutex(
                                            arena.client, arena.path("lock2"))));
            Expect.equal(
                    false, all.acquire(300, TimeUnit.MILLISECONDS), "acquired while one is held");
            InterProcessSemaphoreMutex first =
                    new InterProcessSemaphoreMutex(arena.client, arena.path("lock1"));
            Expect.equal(
                    true,
                    first.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "the first lock is free again");
            first.release();
            held.release();
            Expect.equal(
                    true,
                    all.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "acquired when all are free");
            all.release();
        }
    }
}

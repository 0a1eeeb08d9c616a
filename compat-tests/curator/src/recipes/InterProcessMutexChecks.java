package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.Revoker;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** A re-entrant lock. */
public final class InterProcessMutexChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        InterProcessMutex lock = new InterProcessMutex(stage.client, stage.path("lock"));
        for (int round = 0; round < Stage.ROUNDS; round++) {
            lock.acquire();
            lock.acquire();
            lock.release();
            stage.critical();
            lock.release();
        }
    }

    @Check
    public void excludesOthersAndPassesOnWhenTheHolderIsKilled() throws Exception {
        try (Contest contest = new Contest(InterProcessMutexChecks.class)) {
            contest.exclusive();
        }
    }

    @Check
    public void waitsNoLongerThanAsked() throws Exception {
        try (Arena arena = new Arena();
                CuratorFramework other = Clients.start()) {
            InterProcessMutex lock = new InterProcessMutex(arena.client, arena.path("lock"));
            InterProcessMutex rival = new InterProcessMutex(other, arena.path("lock"));
            lock.acquire();
            Expect.equal(false, rival.acquire(300, TimeUnit.MILLISECONDS), "acquired while held");
            Expect.equal(
                    1, lock.getParticipantNodes().size(), "participants after the rival gave up");
            lock.release();
            Expect.equal(
                    true,
                    rival.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "acquired when free");
            rival.release();
        }
    }

    @Check
    public void theHolderHearsOfARevocation() throws Exception {
        try (Arena arena = new Arena();
                CuratorFramework other = Clients.start()) {
            InterProcessMutex lock = new InterProcessMutex(arena.client, arena.path("lock"));
            CompletableFuture<Boolean> asked = new CompletableFuture<>();
            lock.makeRevocable(revoked -> asked.complete(revoked.isAcquiredInThisProcess()));
            lock.acquire();
            InterProcessMutex rival = new InterProcessMutex(other, arena.path("lock"));
            Revoker.attemptRevoke(other, rival.getParticipantNodes().iterator().next());
            Expect.equal(
                    true, asked.get(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS), "held when asked");
            lock.release();
            Expect.equal(
                    true,
                    rival.acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "acquired when free");
            rival.release();
        }
    }
}

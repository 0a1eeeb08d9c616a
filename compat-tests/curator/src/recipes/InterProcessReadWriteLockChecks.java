package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;

import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** Many readers or one writer. */
public final class InterProcessReadWriteLockChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        InterProcessReadWriteLock lock =
                new InterProcessReadWriteLock(stage.client, stage.path("lock"));
        for (int round = 0; round < Stage.ROUNDS; round++) {
            lock.readLock().acquire();
            stage.record("reading");
            stage.client.getData().forPath(stage.path("counter"));
            stage.record("read");
            lock.readLock().release();
            lock.writeLock().acquire();
            stage.critical();
            lock.writeLock().release();
        }
    }

    @Check
    public void aWriterIsAloneAndIsReplacedWhenKilled() throws Exception {
        try (Contest contest = new Contest(InterProcessReadWriteLockChecks.class)) {
            contest.exclusive();
            Set<String> readers = new HashSet<>();
            Set<String> writers = new HashSet<>();
            for (History.Line line : contest.history.lines()) {
                switch (line.what()) {
                    case "reading" -> readers.add(line.who());
                    case "read" -> readers.remove(line.who());
                    case "enter" -> writers.add(line.who());
                    case "leave", "killed" -> writers.remove(line.who());
                    default -> {}
                }
                Expect.that(
                        writers.isEmpty() || readers.isEmpty(),
                        readers + " read while " + writers + " wrote");
            }
        }
    }

    @Check
    public void readersShareAndAWriterMayReadToo() throws Exception {
        try (Arena arena = new Arena();
                CuratorFramework other = Clients.start()) {
            InterProcessReadWriteLock lock =
                    new InterProcessReadWriteLock(arena.client, arena.path("lock"));
            InterProcessReadWriteLock rival =
                    new InterProcessReadWriteLock(other, arena.path("lock"));
            lock.readLock().acquire();
            Expect.equal(
                    true,
                    rival.readLock().acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "second reader");
            Expect.equal(
                    false,
                    rival.writeLock().acquire(300, TimeUnit.MILLISECONDS),
                    "writer beside readers");
            lock.readLock().release();
            rival.readLock().release();

            lock.writeLock().acquire();
            Expect.equal(
                    true,
                    lock.readLock().acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "the writer reads");
            Expect.equal(
                    false,
                    rival.readLock().acquire(300, TimeUnit.MILLISECONDS),
                    "reader beside a writer");
            lock.writeLock().release();
            Expect.equal(
                    true,
                    rival.readLock().acquire(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "reader after the writer stepped down");
            rival.readLock().release();
            lock.readLock().release();
        }
    }
}

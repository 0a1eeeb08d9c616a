package failover;

import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;

import java.util.Random;
import java.util.concurrent.TimeUnit;

/** InterProcessReadWriteLock: readers together, a writer alone. */
final class ReadWriteLock extends Recipe {
    private final String path;
    private final Holders holders = new Holders(this, Integer.MAX_VALUE);

    ReadWriteLock(String root) {
        path = root + "/read-write";
    }

    @Override
    Work begin(User user) {
        InterProcessReadWriteLock lock = new InterProcessReadWriteLock(user.client, path);
        Random random = new Random(user.id.hashCode());
        return () -> {
            boolean writes = random.nextInt(3) == 0;
            InterProcessMutex half = writes ? lock.writeLock() : lock.readLock();
            if (!half.acquire(TURN_MILLIS, TimeUnit.MILLISECONDS)) {
                return false;
            }
            try {
                holders.enter(user.id, writes);
                Thread.sleep(WORK_MILLIS);
            } finally {
                holders.leave(user.id);
                half.release();
            }
            return true;
        };
    }
}

package failover;

import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

import java.util.concurrent.TimeUnit;

/** InterProcessSemaphoreV2: no more holders than leases. */
final class Semaphore extends Recipe {
    private static final int LEASES = 2;

    /** Long enough for all users to want a lease at the same time. */
    private static final long HOLD_MILLIS = 100;

    private final String path;
    private final Holders holders = new Holders(this, LEASES);

    Semaphore(String root) {
        path = root + "/semaphore";
    }

    @Override
    Work begin(User user) {
        InterProcessSemaphoreV2 semaphore =
                new InterProcessSemaphoreV2(user.client, path, LEASES);
        return () -> {
            Lease lease = semaphore.acquire(TURN_MILLIS, TimeUnit.MILLISECONDS);
            if (lease == null) {
                return false;
            }
            try {
                holders.enter(user.id);
                Thread.sleep(HOLD_MILLIS);
            } finally {
                holders.leave(user.id);
                semaphore.returnLease(lease);
            }
            return true;
        };
    }
}

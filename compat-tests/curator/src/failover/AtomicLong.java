package failover;

import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.retry.RetryNTimes;

import java.util.List;
import java.util.concurrent.TimeUnit;

/** DistributedAtomicLong: no acknowledged increment is lost, and each has a value of its own. */
final class AtomicLong extends Recipe {
    private static final int TRIES = 2;
    private static final int BETWEEN_TRIES_MILLIS = 10;

    private final String root;
    private final Numbers numbers = new Numbers(this);

    AtomicLong(String root) {
        this.root = root;
    }

    /** Few optimistic tries, so that the promotion to a lock is used as well. */
    private DistributedAtomicLong number(User user) {
        PromotedToLock lock =
                PromotedToLock.builder()
                        .lockPath(root + "/long-lock")
                        .retryPolicy(new RetryNTimes(TRIES, BETWEEN_TRIES_MILLIS))
                        .timeout(TURN_MILLIS, TimeUnit.MILLISECONDS)
                        .build();
        return new DistributedAtomicLong(
                user.client,
                root + "/long",
                new RetryNTimes(TRIES, BETWEEN_TRIES_MILLIS),
                lock);
    }

    @Override
    Work begin(User user) {
        DistributedAtomicLong number = number(user);
        return () -> {
            AtomicValue<Long> value = number.increment();
            if (value.succeeded()) {
                numbers.add(user.id, value.postValue());
            }
            return value.succeeded();
        };
    }

    @Override
    void checkAtEnd(List<User> users) throws Exception {
        numbers.check(number(users.get(0)).get().postValue(), users);
    }
}

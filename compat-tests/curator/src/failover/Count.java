package failover;

import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.VersionedValue;

import java.util.List;

/** SharedCount: a value is set once, and only after the one it was seen to follow. */
final class Count extends Recipe {
    private final String path;
    private final Numbers numbers = new Numbers(this);

    Count(String root) {
        path = root + "/count";
    }

    @Override
    Work begin(User user) throws Exception {
        SharedCount count = new SharedCount(user.client, path, 0);
        count.start();
        return new Work() {
            @Override
            public boolean round() throws Exception {
                VersionedValue<Integer> seen = count.getVersionedValue();
                boolean counted = count.trySetCount(seen, seen.getValue() + 1);
                if (counted) {
                    numbers.add(user.id, seen.getValue() + 1);
                }
                return counted;
            }

            @Override
            public void close() throws Exception {
                count.close();
            }
        };
    }

    @Override
    void checkAtEnd(List<User> users) throws Exception {
        try (SharedCount count = new SharedCount(users.get(0).client, path, 0)) {
            count.start();
            numbers.check(count.getCount(), users);
        }
    }
}

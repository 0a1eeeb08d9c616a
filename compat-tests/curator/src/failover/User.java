package failover;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.BoundedExponentialBackoffRetry;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** A client that runs all the time, and what it has heard of its connection and its session. */
final class User implements AutoCloseable {
    static final Duration SESSION = Duration.ofSeconds(8);

    /** Together longer than servers take to elect a leader: recipes must not see an election. */
    private static final int RETRY_BASE_MILLIS = 50;

    private static final int RETRY_MILLIS_MAX = 500;
    private static final int RETRIES = 60;
    private static final int CONNECT_MILLIS = 30_000;

    final String id;
    final CuratorFramework client;

    /** Connections it lost; with each it may have lost the answers to what was under way. */
    final AtomicInteger cuts = new AtomicInteger();

    private final AtomicInteger lostSessions = new AtomicInteger();
    private final long session;

    User(String id, String connect) throws Exception {
        this.id = id;
        client =
                CuratorFrameworkFactory.builder()
                        .connectString(connect)
                        .sessionTimeoutMs((int) SESSION.toMillis())
                        .connectionTimeoutMs(CONNECT_MILLIS)
                        .retryPolicy(
                                new BoundedExponentialBackoffRetry(
                                        RETRY_BASE_MILLIS, RETRY_MILLIS_MAX, RETRIES))
                        .build();
        client.getConnectionStateListenable().addListener((from, state) -> heard(state));
        client.start();
        if (!client.blockUntilConnected(CONNECT_MILLIS, TimeUnit.MILLISECONDS)) {
            client.close();
            throw new AssertionError("no connection to " + connect);
        }
        session = sessionNow();
    }

    private void heard(ConnectionState state) {
        if (state == ConnectionState.SUSPENDED) {
            cuts.incrementAndGet();
        } else if (state == ConnectionState.LOST) {
            lostSessions.incrementAndGet();
        }
    }

    private long sessionNow() throws Exception {
        return client.getZookeeperClient().getZooKeeper().getSessionId();
    }

    boolean hasItsSession() throws Exception {
        return lostSessions.get() == 0 && sessionNow() == session;
    }

    @Override
    public void close() {
        client.close();
    }
}

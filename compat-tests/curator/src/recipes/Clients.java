package recipes;

import compat.Server;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;

import java.util.concurrent.TimeUnit;

/** Started Curator clients. */
final class Clients {
    private static final int CONNECT_MILLIS = 15_000;
    private static final int RETRY_BASE_MILLIS = 100;
    private static final int RETRIES = 8;

    private Clients() {}

    static CuratorFramework start() throws Exception {
        return start(Server.CONNECT, Server.LONG_SESSION_MILLIS);
    }

    static CuratorFramework start(String connect, int sessionMillis) throws Exception {
        CuratorFramework client =
                CuratorFrameworkFactory.builder()
                        .connectString(connect)
                        .sessionTimeoutMs(sessionMillis)
                        .connectionTimeoutMs(CONNECT_MILLIS)
                        .retryPolicy(new ExponentialBackoffRetry(RETRY_BASE_MILLIS, RETRIES))
                        .build();
        client.start();
        if (!client.blockUntilConnected(CONNECT_MILLIS, TimeUnit.MILLISECONDS)) {
            client.close();
            throw new AssertionError(
                    "no connection to " + connect + " within " + CONNECT_MILLIS + " ms");
        }
        return client;
    }
}

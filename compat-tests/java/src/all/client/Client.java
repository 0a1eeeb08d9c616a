package client;

import compat.Expect;
import compat.Server;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;

import java.io.Closeable;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A connected ZooKeeper handle, the events of its default watcher, and a root of its own that it
 * removes at the end.
 */
final class Client implements Closeable {
    static final long CONNECT_MILLIS = 15_000;

    final ZooKeeper zk;
    final Events events;
    private String root;

    private Client(String connect, int sessionMillis, long sessionId, byte[] password)
            throws Exception {
        events = new Events();
        zk =
                password == null
                        ? new ZooKeeper(connect, sessionMillis, events)
                        : new ZooKeeper(connect, sessionMillis, events, sessionId, password);
    }

    static Client open() throws Exception {
        return open(Server.CONNECT);
    }

    static Client open(String connect) throws Exception {
        return open(connect, Server.LONG_SESSION_MILLIS);
    }

    static Client open(String connect, int sessionMillis) throws Exception {
        return new Client(connect, sessionMillis, 0, null).awaitConnected();
    }

    /** A second handle on a session that exists. It is not waited for: it may be refused. */
    static Client attach(String connect, long sessionId, byte[] password) throws Exception {
        return new Client(connect, Server.LONG_SESSION_MILLIS, sessionId, password);
    }

    Client awaitConnected() throws Exception {
        events.awaitState(KeeperState.SyncConnected, CONNECT_MILLIS);
        return this;
    }

    /** The root of this check; made when first asked for. */
    String root() throws Exception {
        if (root == null) {
            root =
                    zk.create(
                            Server.freshRoot("java"),
                            null,
                            Ids.OPEN_ACL_UNSAFE,
                            CreateMode.PERSISTENT);
        }
        return root;
    }

    String create(String path) throws Exception {
        return create(path, CreateMode.PERSISTENT);
    }

    String create(String path, CreateMode mode) throws Exception {
        return zk.create(path, bytes("data"), Ids.OPEN_ACL_UNSAFE, mode);
    }

    String create(String path, List<ACL> acl) throws Exception {
        return zk.create(path, bytes("data"), acl, CreateMode.PERSISTENT);
    }

    boolean exists(String path) throws Exception {
        return zk.exists(path, false) != null;
    }

    /**
     * All events of changes made before this call have been given to their watchers when it
     * returns.
     */
    void settle() throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        zk.sync("/", (code, path, context) -> done.countDown(), null);
        Expect.that(done.await(CONNECT_MILLIS, TimeUnit.MILLISECONDS), "sync was not answered");
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** The action must be refused with this code and no other. */
    static void refused(KeeperException.Code code, Action action) throws Exception {
        try {
            action.run();
        } catch (KeeperException e) {
            Expect.equal(code, e.code(), "error of " + e.getPath());
            return;
        }
        throw new AssertionError("expected " + code + ", but it succeeded");
    }

    interface Action {
        void run() throws Exception;
    }

    @Override
    public void close() {
        try {
            if (root != null && zk.getState().isConnected()) {
                ZKUtil.deleteRecursive(zk, root);
            }
            zk.close();
        } catch (KeeperException e) {
            throw new AssertionError("cannot remove " + root, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}

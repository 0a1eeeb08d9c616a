package recipes;

import compat.Server;

import org.apache.curator.framework.CuratorFramework;
import org.apache.zookeeper.KeeperException;

import java.util.concurrent.TimeUnit;

/** A client of this process and a root node of its own, removed at the end. */
class Arena implements AutoCloseable {
    static final long WAIT_MILLIS = 30_000;
    private static final int CLEAN_UP_TRIES = 5;

    final CuratorFramework client;
    final String root;

    Arena() throws Exception {
        client = Clients.start();
        root = client.create().forPath(Server.freshRoot("curator"), new byte[0]);
    }

    String path(String name) {
        return root + "/" + name;
    }

    @Override
    public void close() throws Exception {
        for (int tries = 1; ; tries++) {
            try {
                client.delete().deletingChildrenIfNeeded().forPath(root);
                break;
            } catch (KeeperException.NotEmptyException | KeeperException.NoNodeException e) {
                // Nodes of sessions that end just now go at the same time as we delete.
                if (tries == CLEAN_UP_TRIES) {
                    throw e;
                }
                TimeUnit.MILLISECONDS.sleep(100);
            }
        }
        client.close();
    }
}

package meerkat.kafka;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** What the brokers have written under their chroot, seen through a client of our own. */
final class Znodes implements AutoCloseable {
    private static final int SESSION_TIMEOUT_MS = 10_000;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final ZooKeeper zookeeper;
    private final String chroot;

    Znodes(String connect, String chroot) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        this.chroot = chroot;
        this.zookeeper = new ZooKeeper(connect, SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(SESSION_TIMEOUT_MS, TimeUnit.MILLISECONDS)) {
            zookeeper.close();
            throw new IllegalStateException("no ZooKeeper server answers at " + connect);
        }
    }

    boolean exists(String path) throws Exception {
        return zookeeper.exists(chroot + path, false) != null;
    }

    /** Session that owns this ephemeral node; 0 when the node is absent or not ephemeral. */
    long owner(String path) throws Exception {
        Stat stat = zookeeper.exists(chroot + path, false);
        return stat == null ? 0 : stat.getEphemeralOwner();
    }

    /** A life of an ephemeral node: the zxid that created it and the session that owns it. */
    record Born(long zxid, long owner) {
    }

    Born born(String path) throws Exception {
        Stat stat = new Stat();
        zookeeper.getData(chroot + path, false, stat);
        return new Born(stat.getCzxid(), stat.getEphemeralOwner());
    }

    List<String> children(String path) throws Exception {
        List<String> names = new ArrayList<>(zookeeper.getChildren(chroot + path, false));
        names.sort(null);
        return names;
    }

    JsonNode json(String path) throws Exception {
        return JSON.readTree(zookeeper.getData(chroot + path, false, null));
    }

    /** Broker id of the controller; -1 while there is none. */
    int controller() throws Exception {
        try {
            return json("/controller").get("brokerid").asInt();
        } catch (KeeperException.NoNodeException none) {
            return -1;
        }
    }

    int controllerEpoch() throws Exception {
        return json("/controller_epoch").asInt();
    }

    int leader(String topic, int partition) throws Exception {
        return state(topic, partition).get("leader").asInt();
    }

    /** In-sync replicas of the partition, in order of broker id. */
    List<Integer> isr(String topic, int partition) throws Exception {
        List<Integer> ids = new ArrayList<>();
        state(topic, partition).get("isr").forEach(id -> ids.add(id.asInt()));
        ids.sort(null);
        return ids;
    }

    /** Removes the chroot and all below it; true when nothing of it is left. */
    boolean deleteChroot() throws Exception {
        return ZKUtil.deleteRecursive(zookeeper, chroot, 64)
                && zookeeper.exists(chroot, false) == null;
    }

    private JsonNode state(String topic, int partition) throws Exception {
        return json("/brokers/topics/" + topic + "/partitions/" + partition + "/state");
    }

    @Override
    public void close() {
        try {
            zookeeper.close();
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
    }
}

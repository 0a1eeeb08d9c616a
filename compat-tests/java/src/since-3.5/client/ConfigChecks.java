package client;

import static client.Client.CONNECT_MILLIS;
import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Server;

import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

import java.util.Collections;

/** The configuration node of a server that stands alone, and reconfiguration it refuses. */
public final class ConfigChecks {
    @Check
    public void theConfigurationNodeIsReadOnly() throws Exception {
        try (Client client = Client.open()) {
            Stat stat = new Stat();
            client.zk.getConfig(false, stat);
            Expect.equal(
                    client.zk.exists("/zookeeper/config", false),
                    stat,
                    "Stat of the configuration");
            Expect.equal(
                    Collections.singletonList(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE)),
                    client.zk.getACL("/zookeeper/config", new Stat()),
                    "ACL");
            refused(Code.NOAUTH, () -> client.zk.setData("/zookeeper/config", bytes("x"), -1));
            refused(Code.BADARGUMENTS, () -> client.zk.delete("/zookeeper/config", -1));
        }
    }

    /** Reconfiguration is off by default, and that is said before anything else is looked at. */
    @Check
    public void reconfigurationIsOff() throws Exception {
        Events events = new Events();
        ZooKeeperAdmin admin =
                new ZooKeeperAdmin(Server.CONNECT, Server.LONG_SESSION_MILLIS, events);
        try {
            events.awaitState(KeeperState.SyncConnected, CONNECT_MILLIS);
            refused(
                    Code.RECONFIGDISABLED,
                    () ->
                            admin.reconfigure(
                                    "server.2=127.0.0.1:1:2:participant;3",
                                    null,
                                    null,
                                    -1,
                                    new Stat()));
            refused(
                    Code.RECONFIGDISABLED,
                    () -> admin.reconfigure(null, "2", null, -1, new Stat()));
            Expect.that(admin.exists("/", false) != null, "the connection works on");
        } finally {
            admin.close();
        }
    }
}

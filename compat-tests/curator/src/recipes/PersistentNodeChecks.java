package recipes;

import compat.Check;
import compat.Expect;
import compat.Server;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A node that is there for as long as its process wants it, whoever deletes it and whatever happens
 * to the session.
 */
public final class PersistentNodeChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (PersistentNode node =
                new PersistentNode(
                        stage.client,
                        CreateMode.EPHEMERAL,
                        false,
                        stage.path("nodes/" + stage.id),
                        stage.id.getBytes())) {
            node.start();
            node.waitForInitialCreate(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            stage.say("holding");
            stage.await("stop");
        }
    }

    @Check
    public void goesWithItsKilledProcessOnly() throws Exception {
        try (Contest contest = new Contest(PersistentNodeChecks.class)) {
            contest.client.create().forPath(contest.path("nodes"));
            contest.go();
            contest.killHolder();
            for (String id : contest.children.keySet()) {
                contest.children.get(id).await("holding", Arena.WAIT_MILLIS);
            }
            Expect.equal(List.of("a", "b", "c"), nodes(contest), "nodes right after the kill");
            Expect.becomes(Arena.WAIT_MILLIS, List.of("b", "c"), "nodes", () -> nodes(contest));
            contest.tell("stop");
            contest.awaitOthers();
            Expect.equal(List.of(), nodes(contest), "nodes after the close");
        }
    }

    private static List<String> nodes(Contest contest) throws Exception {
        return List.copyOf(
                new TreeSet<>(contest.client.getChildren().forPath(contest.path("nodes"))));
    }

    @Check
    public void comesBackWhenDeletedAndWhenTheSessionIsLost() throws Exception {
        try (Arena arena = new Arena();
                CuratorFramework other = Clients.start();
                PersistentNode node =
                        new PersistentNode(
                                other,
                                CreateMode.EPHEMERAL,
                                false,
                                arena.path("n"),
                                "one".getBytes())) {
            node.start();
            Expect.that(
                    node.waitForInitialCreate(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                    "the node was not made");
            long first = owner(arena);
            Expect.equal(other.getZookeeperClient().getZooKeeper().getSessionId(), first, "owner");

            long czxid = arena.client.checkExists().forPath(arena.path("n")).getCzxid();
            arena.client.delete().forPath(arena.path("n"));
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "the node is made again",
                    () -> {
                        Stat stat = arena.client.checkExists().forPath(arena.path("n"));
                        return stat != null && stat.getCzxid() > czxid;
                    });

            node.setData("two".getBytes());
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    "two",
                    "data",
                    () -> new String(arena.client.getData().forPath(arena.path("n"))));

            endSession(other);
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "the node is made again in a new session",
                    () -> owner(arena) != 0 && owner(arena) != first);
            Expect.equal(
                    "two",
                    new String(arena.client.getData().forPath(arena.path("n"))),
                    "data after the session was lost");
            node.close();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    null,
                    "Stat after close",
                    () -> arena.client.checkExists().forPath(arena.path("n")));
        }
    }

    private static long owner(Arena arena) throws Exception {
        Stat stat = arena.client.checkExists().forPath(arena.path("n"));
        return stat == null ? 0 : stat.getEphemeralOwner();
    }

    /**
     * Takes the session over with a second handle and closes it: for the first one it has expired.
     */
    private static void endSession(CuratorFramework client) throws Exception {
        ZooKeeper handle = client.getZookeeperClient().getZooKeeper();
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper thief =
                new ZooKeeper(
                        Server.CONNECT,
                        Server.LONG_SESSION_MILLIS,
                        event -> {
                            if (event.getState() == KeeperState.SyncConnected) {
                                connected.countDown();
                            }
                        },
                        handle.getSessionId(),
                        handle.getSessionPasswd());
        Expect.that(
                connected.await(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                "the second handle was not connected");
        thief.close();
    }
}

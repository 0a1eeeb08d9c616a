package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.x.async.AsyncCuratorFramework;
import org.apache.curator.x.async.AsyncStage;
import org.apache.curator.x.async.AsyncWrappers;
import org.apache.curator.x.async.api.CreateOption;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** x-async: every call answered by a stage. */
public final class AsyncChecks implements Contestant {
    static <T> T get(CompletionStage<T> stage) throws Exception {
        try {
            return stage.toCompletableFuture().get(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Exception cause ? cause : e;
        }
    }

    /** The lock of AsyncWrappers, fought over like the plain one. */
    @Override
    public void compete(Stage stage) throws Exception {
        for (int round = 0; round < Stage.ROUNDS; round++) {
            InterProcessMutex lock = new InterProcessMutex(stage.client, stage.path("lock"));
            // The lock belongs to the thread that took it: the whole section runs there.
            get(
                    AsyncWrappers.lockAsync(
                                    lock, Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS, Runnable::run)
                            .thenRun(
                                    () -> {
                                        try {
                                            stage.critical();
                                        } catch (Exception e) {
                                            throw new CompletionException(e);
                                        } finally {
                                            AsyncWrappers.release(lock);
                                        }
                                    }));
        }
    }

    @Check
    public void lockExcludesOthersAndPassesOnWhenTheHolderIsKilled() throws Exception {
        try (Contest contest = new Contest(AsyncChecks.class)) {
            contest.exclusive();
        }
    }

    @Check
    public void eachCallAnswers() throws Exception {
        try (Arena arena = new Arena()) {
            AsyncCuratorFramework async = AsyncCuratorFramework.wrap(arena.client);
            String node = arena.path("a/b");
            Expect.equal(
                    node,
                    get(
                            async.create()
                                    .withOptions(EnumSet.of(CreateOption.createParentsIfNeeded))
                                    .forPath(node, "one".getBytes())),
                    "created");
            Stat stat = new Stat();
            Expect.equal(
                    node + "/s0000000000",
                    get(
                            async.create()
                                    .withOptions(
                                            EnumSet.noneOf(CreateOption.class),
                                            CreateMode.EPHEMERAL_SEQUENTIAL,
                                            Ids.OPEN_ACL_UNSAFE,
                                            stat)
                                    .forPath(node + "/s")),
                    "sequential");
            Expect.equal(
                    get(async.checkExists().forPath(node + "/s0000000000")), stat, "Stat stored");
            Expect.equal("one", new String(get(async.getData().forPath(node))), "data");
            Expect.equal(
                    1,
                    get(async.setData().withVersion(0).forPath(node, "two".getBytes()))
                            .getVersion(),
                    "version");
            Expect.equal(
                    List.of("s0000000000"), get(async.getChildren().forPath(node)), "children");
            Expect.equal(31, get(async.getACL().forPath(node)).get(0).getPerms(), "permissions");
            get(async.sync().forPath(node));
            refused(
                    KeeperException.BadVersionException.class,
                    async.setData().withVersion(0).forPath(node, new byte[0]));
            refused(KeeperException.NotEmptyException.class, async.delete().forPath(node));
            refused(
                    KeeperException.NoNodeException.class,
                    async.getData().forPath(node + "/missing"));
            refused(KeeperException.NodeExistsException.class, async.create().forPath(node));
            Expect.equal(
                    null,
                    get(async.checkExists().forPath(node + "/missing")),
                    "Stat of a missing node");
            get(async.delete().forPath(node + "/s0000000000"));
            get(async.delete().withVersion(1).forPath(node));
            Expect.equal(null, get(async.checkExists().forPath(node)), "Stat of a deleted node");
        }
    }

    static void refused(Class<? extends KeeperException> wanted, CompletionStage<?> stage)
            throws Exception {
        try {
            get(stage);
        } catch (KeeperException e) {
            Expect.equal(wanted, e.getClass(), "failure");
            return;
        }
        throw new AssertionError("expected " + wanted.getSimpleName() + ", but it succeeded");
    }

    @Check
    public void watchesAndTransactions() throws Exception {
        try (Arena arena = new Arena()) {
            AsyncCuratorFramework async = AsyncCuratorFramework.wrap(arena.client);
            String node = arena.path("n");
            AsyncStage<Stat> missing = async.watched().checkExists().forPath(node);
            get(missing);
            LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
            get(
                    async.addWatch()
                            .withMode(AddWatchMode.PERSISTENT_RECURSIVE)
                            .usingWatcher(
                                    (Watcher)
                                            event ->
                                                    events.add(
                                                            event.getType()
                                                                    + " "
                                                                    + event.getPath()))
                            .forPath(node));
            get(
                    async.transaction()
                            .forOperations(
                                    List.of(
                                            async.transactionOp()
                                                    .create()
                                                    .forPath(node, "x".getBytes()),
                                            async.transactionOp().create().forPath(node + "/c"),
                                            async.transactionOp()
                                                    .setData()
                                                    .withVersion(0)
                                                    .forPath(node, "y".getBytes()))));
            Expect.equal(
                    EventType.NodeCreated,
                    get(missing.event()).getType(),
                    "event of the one-shot watch");
            for (String wanted :
                    List.of(
                            "NodeCreated " + node,
                            "NodeCreated " + node + "/c",
                            "NodeDataChanged " + node)) {
                Expect.equal(
                        wanted,
                        events.poll(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS),
                        "event of the recursive watch");
            }
            refused(
                    KeeperException.NodeExistsException.class,
                    async.transaction()
                            .forOperations(
                                    List.of(
                                            async.transactionOp().delete().forPath(node + "/c"),
                                            async.transactionOp().create().forPath(node))));
            Expect.equal(
                    List.of("c"),
                    get(async.getChildren().forPath(node)),
                    "children after a refused transaction");
        }
    }

    @Check
    public void hundredsInFlight() throws Exception {
        try (Arena arena = new Arena()) {
            AsyncCuratorFramework async = AsyncCuratorFramework.wrap(arena.client);
            List<CompletableFuture<String>> creates = new ArrayList<>();
            Map<String, String> wanted = new TreeMap<>();
            for (int i = 0; i < 500; i++) {
                creates.add(
                        async.create()
                                .forPath(arena.path("n" + i), ("data" + i).getBytes())
                                .toCompletableFuture());
                wanted.put(arena.path("n" + i), "data" + i);
            }
            get(CompletableFuture.allOf(creates.toArray(new CompletableFuture<?>[0])));
            Map<String, String> got = new TreeMap<>();
            get(AsyncWrappers.childrenWithData(async, arena.root))
                    .forEach((path, data) -> got.put(path, new String(data)));
            Expect.equal(wanted, got, "children with data");
        }
    }
}

package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.data.Stat;

import java.util.List;

/** Several changes at once or none. */
public final class TransactionChecks implements Contestant {
    private static final int TRANSFERS = 25;
    private static final int START = 1_000;

    /** Moves one at a time from one account to the other, with the versions it read. */
    @Override
    public void compete(Stage stage) throws Exception {
        CuratorFramework client = stage.client;
        String from = stage.path("from");
        String to = stage.path("to");
        for (int done = 0; done < TRANSFERS; ) {
            Stat fromStat = new Stat();
            Stat toStat = new Stat();
            int fromValue = number(client.getData().storingStatIn(fromStat).forPath(from));
            int toValue = number(client.getData().storingStatIn(toStat).forPath(to));
            try {
                client.transaction()
                        .forOperations(
                                client.transactionOp()
                                        .setData()
                                        .withVersion(fromStat.getVersion())
                                        .forPath(from, text(fromValue - 1)),
                                client.transactionOp()
                                        .setData()
                                        .withVersion(toStat.getVersion())
                                        .forPath(to, text(toValue + 1)),
                                client.transactionOp()
                                        .create()
                                        .withMode(CreateMode.PERSISTENT_SEQUENTIAL)
                                        .forPath(stage.path("log/t")));
                done++;
                stage.record("moved");
                stage.tellIfVictim();
            } catch (KeeperException.BadVersionException e) {
                // Another transfer came between the reads and the writes.
            }
        }
    }

    private static int number(byte[] data) {
        return Integer.parseInt(new String(data));
    }

    private static byte[] text(int number) {
        return Integer.toString(number).getBytes();
    }

    @Check
    public void transfersKeepTheSum() throws Exception {
        try (Contest contest = new Contest(TransactionChecks.class)) {
            contest.client.create().forPath(contest.path("from"), text(START));
            contest.client.create().forPath(contest.path("to"), text(0));
            contest.client.create().forPath(contest.path("log"));
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            int moved = number(contest.client.getData().forPath(contest.path("to")));
            Expect.equal(
                    START - moved,
                    number(contest.client.getData().forPath(contest.path("from"))),
                    "what is left");
            Expect.equal(
                    moved,
                    contest.client.getChildren().forPath(contest.path("log")).size(),
                    "transfers in the log");
            int told = contest.history.lines("moved").size();
            // The killed process may have died between its last transfer and telling of it.
            Expect.that(
                    moved == told || moved == told + 1,
                    told + " transfers told, " + moved + " made");
            Expect.that(told >= 2 * TRANSFERS + 2, told + " transfers told");
        }
    }

    @Check
    public void resultsAndFailuresByPosition() throws Exception {
        try (Arena arena = new Arena()) {
            CuratorFramework client = arena.client;
            String node = arena.path("n");
            List<CuratorTransactionResult> results =
                    client.transaction()
                            .forOperations(
                                    client.transactionOp().create().forPath(node, text(1)),
                                    client.transactionOp().check().withVersion(0).forPath(node),
                                    client.transactionOp()
                                            .setData()
                                            .withVersion(0)
                                            .forPath(node, text(2)),
                                    client.transactionOp()
                                            .create()
                                            .withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
                                            .forPath(node + "/s"),
                                    client.transactionOp()
                                            .create()
                                            .withMode(CreateMode.CONTAINER)
                                            .forPath(node + "/box"),
                                    client.transactionOp().delete().forPath(node + "/box"));
            Expect.equal(
                    List.of(
                            OperationType.CREATE,
                            OperationType.CHECK,
                            OperationType.SET_DATA,
                            OperationType.CREATE,
                            OperationType.CREATE,
                            OperationType.DELETE),
                    results.stream().map(CuratorTransactionResult::getType).toList(),
                    "types");
            Expect.equal(
                    node + "/s0000000000",
                    results.get(3).getResultPath(),
                    "path of the sequential node");
            Expect.equal(1, results.get(2).getResultStat().getVersion(), "version in the result");
            Expect.equal("2", new String(client.getData().forPath(node)), "data");

            try {
                client.transaction()
                        .forOperations(
                                client.transactionOp().create().forPath(node + "/never"),
                                client.transactionOp().check().withVersion(7).forPath(node),
                                client.transactionOp().delete().forPath(node));
                throw new AssertionError("a transaction with a wrong version succeeded");
            } catch (KeeperException.BadVersionException e) {
                List<Integer> codes =
                        e.getResults().stream()
                                .map(result -> ((OpResult.ErrorResult) result).getErr())
                                .toList();
                Expect.equal(List.of(0, -103, -2), codes, "codes by position");
            }
            Expect.equal(
                    null, client.checkExists().forPath(node + "/never"), "Stat of what was undone");
        }
    }
}

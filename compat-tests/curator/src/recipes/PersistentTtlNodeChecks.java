package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;

import java.util.concurrent.TimeUnit;

/** A node kept alive by touching a child with a time to live; without sessions. */
public final class PersistentTtlNodeChecks implements Contestant {
    private static final long TTL_MILLIS = 2_000;

    /**
     * The server reaps once a minute: first the child, then, a minute later, the empty container.
     */
    private static final long REAP_MILLIS = 2 * 60_000 + 20_000;

    @Override
    public void compete(Stage stage) throws Exception {
        try (PersistentTtlNode node =
                new PersistentTtlNode(
                        stage.client,
                        stage.path("node-" + stage.id),
                        TTL_MILLIS,
                        stage.id.getBytes())) {
            node.start();
            node.waitForInitialCreate(Arena.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            while (stage.client.getChildren().forPath(stage.path("node-" + stage.id)).isEmpty()) {
                Thread.sleep(20);
            }
            stage.say("holding");
            stage.await("stop");
        }
    }

    @Check(waits = true, limitSeconds = 240)
    public void staysWhileTouchedAndIsReapedAfterTheKill() throws Exception {
        try (Contest contest = new Contest(PersistentTtlNodeChecks.class)) {
            contest.go();
            contest.killHolder();
            for (String id : contest.children.keySet()) {
                contest.children.get(id).await("holding", Arena.WAIT_MILLIS);
            }
            Expect.equal(
                    "a",
                    new String(contest.client.getData().forPath(contest.path("node-a"))),
                    "data");
            Expect.becomes(
                    REAP_MILLIS,
                    null,
                    "Stat of the killed process's node",
                    () -> contest.client.checkExists().forPath(contest.path("node-a")));
            for (String id : contest.children.keySet()) {
                Expect.equal(
                        id,
                        new String(contest.client.getData().forPath(contest.path("node-" + id))),
                        "data of a living one");
                Expect.equal(
                        1,
                        contest.client.getChildren().forPath(contest.path("node-" + id)).size(),
                        "touched children of " + id);
            }
            contest.tell("stop");
            contest.awaitOthers();
        }
    }
}

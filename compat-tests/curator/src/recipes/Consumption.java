package recipes;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;

import java.util.concurrent.Semaphore;

/**
 * Takes items off a queue and keeps account: "took" when it gets one, "did" when it is through with
 * it.
 */
final class Consumption implements QueueConsumer<String> {
    static final QueueSerializer<String> TEXT =
            new QueueSerializer<>() {
                @Override
                public byte[] serialize(String item) {
                    return item.getBytes();
                }

                @Override
                public String deserialize(byte[] bytes) {
                    return new String(bytes);
                }
            };

    private static final long WORK_MILLIS = 3;

    private final Stage stage;

    /** One item at a time, whatever threads the queue uses: the victim holds exactly one. */
    private final Semaphore one = new Semaphore(1);

    Consumption(Stage stage) {
        this.stage = stage;
    }

    @Override
    public void consumeMessage(String item) throws Exception {
        one.acquire();
        try {
            stage.record("took " + item);
            stage.holdIfVictim();
            Thread.sleep(WORK_MILLIS);
            stage.record("did " + item);
        } finally {
            one.release();
        }
    }

    @Override
    public void stateChanged(CuratorFramework client, ConnectionState state) {}
}

package recipes;

import compat.Check;
import compat.Expect;
import java.util.ArrayList;
import java.util.List;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;

/** A queue whose items can be taken back by id. */
public final class DistributedIdQueueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (DistributedIdQueue<String> queue = QueueBuilder.builder(stage.client, new Consumption(stage), Consumption.TEXT, stage.path("queue")).lockPath(stage.path("locks")).buildIdQueue()) {
            queue.start();
            stage.await("stop");
        }
    }

    @Check
    public void removedItemsAreNeverSeenAndTheOthersOnce() throws Exception {
        try (Contest contest = new Contest(DistributedIdQueueChecks.class)) {
            List<String> items = new ArrayList<>(Queues.items("i"));
            try (DistributedIdQueue<String> producer = QueueBuilder.<String>builder(contest.client, null, Consumption.TEXT, contest.path("queue")).buildIdQueue()) {
                producer.start();
                for (String item : items) {
                    producer.put(item, "id/" + item);
                }
                for (String item : List.of("i3", "i30", "i59")) {
                    Expect.equal(1, producer.remove("id/" + item), "removed " + item);
                    items.remove(item);
                }
                Expect.equal(0, producer.remove("id/i3"), "removed again");
            }
            contest.go();
            contest.killHolder();
            Queues.eachDoneOnce(contest, items, List.of());
        }
    }
}

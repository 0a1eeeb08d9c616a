package client;

import compat.Expect;

import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A watcher that keeps what it is told: changes of nodes and changes of the connection apart. */
final class Events implements Watcher {
    private static final long EVENT_MILLIS = 10_000;

    private final BlockingQueue<WatchedEvent> changes = new LinkedBlockingQueue<>();
    private final BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();

    @Override
    public void process(WatchedEvent event) {
        if (event.getType() == EventType.None) {
            states.add(event.getState());
        } else {
            changes.add(event);
        }
    }

    /** Takes states until the wanted one. */
    void awaitState(KeeperState wanted, long limitMillis) throws InterruptedException {
        List<KeeperState> seen = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(limitMillis);
        while (true) {
            KeeperState state =
                    states.poll(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            if (state == null) {
                throw new AssertionError(
                        "state "
                                + wanted
                                + " did not come within "
                                + limitMillis
                                + " ms; seen: "
                                + seen);
            }
            if (state == wanted) {
                return;
            }
            seen.add(state);
        }
    }

    boolean sawState(KeeperState state) {
        return states.contains(state);
    }

    /** The next change must be this one. */
    void next(EventType type, String path) throws InterruptedException {
        next(type, path, EVENT_MILLIS);
    }

    void next(EventType type, String path, long limitMillis) throws InterruptedException {
        WatchedEvent event = changes.poll(limitMillis, TimeUnit.MILLISECONDS);
        Expect.that(event != null, "expected " + type + " " + path + ", got no event");
        Expect.equal(type + " " + path, event.getType() + " " + event.getPath(), "event");
        Expect.equal(KeeperState.SyncConnected, event.getState(), "state in the event");
    }

    /** What has come so far, as "type path", sorted, taken out of the queue. */
    List<String> drainSorted() {
        List<WatchedEvent> taken = new ArrayList<>();
        changes.drainTo(taken);
        List<String> lines = new ArrayList<>();
        taken.forEach(event -> lines.add(event.getType() + " " + event.getPath()));
        lines.sort(null);
        return lines;
    }

    /** No change is waiting. Call {@link Client#settle()} first, or nothing is proved. */
    void none() {
        List<String> left = drainSorted();
        Expect.that(left.isEmpty(), "unexpected events: " + left);
    }

    int count() {
        return changes.size();
    }
}

package meerkat.kafka;

import java.time.Duration;
import java.util.Map;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/** The only member of a group: reads a topic as it grows and notes how often each number came. */
final class SteadyConsumer {
    private static final Duration POLL = Duration.ofMillis(200);

    /** A record's number, and how often it came. */
    private final Map<Long, Integer> times = new ConcurrentHashMap<>();
    private final KafkaConsumer<Long, byte[]> consumer;
    private final Thread thread;
    private volatile boolean stopping;
    private volatile RuntimeException problem;

    SteadyConsumer(Clients clients, String topic) {
        this.consumer = clients.consumer("steady");
        this.thread = new Thread(() -> drive(topic), "steady-consumer");
        thread.setDaemon(true);
        thread.start();
    }

    int count() {
        return times.size();
    }

    /** Waits until it has all of them; fails when one came twice, or one that is not among them. */
    void complete(Set<Long> acknowledged) throws Exception {
        Suite.await("all " + acknowledged.size() + " acknowledged records are consumed",
                () -> times.keySet().containsAll(acknowledged));
        stopping = true;
        thread.join();
        if (problem != null) {
            throw problem;
        }
        Suite.equal("records consumed", acknowledged.size(), times.size());
        List<Long> twice = times.keySet().stream().filter(number -> times.get(number) > 1).toList();
        Suite.equal("records consumed more than once", List.of(), twice);
    }

    private void drive(String topic) {
        try (consumer) {
            consumer.subscribe(List.of(topic));
            while (!stopping) {
                for (ConsumerRecord<Long, byte[]> record : consumer.poll(POLL)) {
                    times.merge(record.key(), 1, Integer::sum);
                }
                consumer.commitAsync();
            }
        } catch (RuntimeException ended) {
            problem = ended;
        }
    }
}

package meerkat.kafka;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Sends numbered records at a steady pace from a thread of its own and notes which were acknowledged. */
final class SteadyProducer {
    private static final int RECORDS_PER_STEP = 5;
    private static final int STEP_MS = 10;
    private static final int VALUE_BYTES = 100;

    final Set<Long> acknowledged = ConcurrentHashMap.newKeySet();
    final List<Exception> refused = Collections.synchronizedList(new ArrayList<>());
    private final String topic;
    private final int partitions;
    private final KafkaProducer<Long, byte[]> producer;
    private final Thread thread;
    private volatile boolean stopping;
    private long sent;

    SteadyProducer(Clients clients, String topic, int partitions) {
        this.topic = topic;
        this.partitions = partitions;
        this.producer = clients.producer();
        this.thread = new Thread(this::drive, "steady-producer");
        thread.setDaemon(true);
        thread.start();
    }

    /** Flushes what is under way and returns how many records were sent in all. */
    long stop() throws InterruptedException {
        stopping = true;
        thread.join();
        producer.close();
        return sent;
    }

    private void drive() {
        try {
            while (!stopping) {
                for (int step = 0; step < RECORDS_PER_STEP; step++) {
                    send(sent++);
                }
                Thread.sleep(STEP_MS);
            }
        } catch (InterruptedException | RuntimeException problem) {
            refused.add(problem instanceof RuntimeException runtime ? runtime
                    : new IllegalStateException(problem));
        }
    }

    private void send(long number) {
        int partition = (int) (number % partitions);
        producer.send(new ProducerRecord<>(topic, partition, number, new byte[VALUE_BYTES]),
                (at, problem) -> {
                    if (problem == null) {
                        acknowledged.add(number);
                    } else {
                        refused.add(problem);
                    }
                });
    }
}

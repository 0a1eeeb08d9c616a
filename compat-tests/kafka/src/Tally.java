package meerkat.kafka;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Reads a topic from end to end and holds it against what was acknowledged. */
final class Tally {
    private static final Duration POLL = Duration.ofMillis(500);

    private Tally() {
    }

    /**
     * Fails unless every acknowledged number is in the topic, no number is there twice, and each
     * partition has its numbers in the order they were sent.
     */
    static void complete(Clients clients, String topic, Set<Long> acknowledged) {
        Set<Long> found = new HashSet<>();
        Map<TopicPartition, Long> latest = new HashMap<>();
        for (ConsumerRecord<Long, byte[]> record : read(clients, topic)) {
            TopicPartition partition = new TopicPartition(topic, record.partition());
            Suite.check(record.key() + " is in " + topic + " twice", found.add(record.key()));
            Long before = latest.put(partition, record.key());
            Suite.check(record.key() + " comes after " + before + " in " + partition,
                    before == null || before < record.key());
        }
        Set<Long> lost = new HashSet<>(acknowledged);
        lost.removeAll(found);
        Suite.check(lost.size() + " of " + acknowledged.size() + " acknowledged records are lost from "
                + topic, lost.isEmpty());
    }

    private static List<ConsumerRecord<Long, byte[]>> read(Clients clients, String topic) {
        List<ConsumerRecord<Long, byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + Suite.PATIENCE.toNanos();
        try (KafkaConsumer<Long, byte[]> consumer = clients.consumer("tally")) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(at -> consumer.position(at) < ends.get(at))) {
                Suite.check("reading " + topic + " ends in time", System.nanoTime() < deadline);
                consumer.poll(POLL).forEach(records::add);
            }
        }
        return records;
    }
}

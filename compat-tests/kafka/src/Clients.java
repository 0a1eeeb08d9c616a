package meerkat.kafka;

import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka clients of one principal; a record's key is its number, its value is padding. */
final class Clients {
    private final Map<String, Object> common = new HashMap<>();

    private Clients(String bootstrap) {
        common.put("bootstrap.servers", bootstrap);
    }

    /** Over the plain listener: the super user. */
    static Clients plain(Broker... brokers) {
        StringBuilder bootstrap = new StringBuilder();
        for (Broker broker : brokers) {
            bootstrap.append(bootstrap.length() == 0 ? "" : ",").append(broker.plain);
        }
        return new Clients(bootstrap.toString());
    }

    /** Over the SCRAM listener, by name and password. */
    static Clients named(String user, String password, Broker... brokers) {
        StringBuilder bootstrap = new StringBuilder();
        for (Broker broker : brokers) {
            bootstrap.append(bootstrap.length() == 0 ? "" : ",").append(broker.scram);
        }
        Clients clients = new Clients(bootstrap.toString());
        clients.common.put("security.protocol", "SASL_PLAINTEXT");
        clients.common.put("sasl.mechanism", "SCRAM-SHA-256");
        clients.common.put("sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\""
                        + user + "\" password=\"" + password + "\";");
        return clients;
    }

    Admin admin() {
        return Admin.create(common);
    }

    /** Idempotent and acks=all: an acknowledged record is on every in-sync replica, once. */
    KafkaProducer<Long, byte[]> producer() {
        Map<String, Object> keys = new HashMap<>(common);
        keys.put("acks", "all");
        keys.put("enable.idempotence", "true");
        keys.put("linger.ms", "5");
        return new KafkaProducer<>(keys, new LongSerializer(), new ByteArraySerializer());
    }

    /** A consumer that commits only when told. */
    KafkaConsumer<Long, byte[]> consumer(String group) {
        Map<String, Object> keys = new HashMap<>(common);
        keys.put("group.id", group);
        keys.put("enable.auto.commit", "false");
        keys.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(keys, new LongDeserializer(), new ByteArrayDeserializer());
    }
}

package meerkat.kafka;

import static meerkat.kafka.Suite.await;
import static meerkat.kafka.Suite.check;
import static meerkat.kafka.Suite.equal;

import compat.Control;
import compat.Disturbance;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;

/**
 * Two brokers go on while the servers of their ensemble are killed, paused, restarted and wiped.
 * All the while records are produced and consumed, and topics are created, altered and deleted.
 */
public final class KafkaFailover {
    private static final Duration SESSION = Duration.ofSeconds(6);
    private static final Duration PAUSE = SESSION.plusSeconds(3);
    private static final String STEADY = "steady";
    private static final int PARTITIONS = 4;
    private static final short REPLICAS = 2;
    /** Records that have to flow after each disturbance. */
    private static final int RECORDS = 300;

    private final String logging = System.getProperty("log4j.configuration");
    private final Suite suite;
    private final Control control;
    private final Znodes znodes;
    private final Broker[] brokers;
    private final Clients clients;
    private final Admin admin;
    private SteadyProducer producer;
    private SteadyConsumer consumer;
    private int topics;

    public static void main(String[] arguments) {
        String connect = arguments[0];
        Path work = Path.of(arguments[1]);
        int times = Integer.parseInt(arguments[2]);
        String chroot = "/kafka-" + UUID.randomUUID();
        Suite suite = new Suite();
        try (Znodes znodes = new Znodes(connect, chroot); Control control = new Control()) {
            new KafkaFailover(suite, control, connect + chroot, znodes, work).run(times);
        } catch (Exception problem) {
            suite.test("the servers are reached and brokers are started", () -> {
                throw problem;
            });
        }
        System.exit(suite.finish("logs are kept in " + work) ? 0 : 1);
    }

    private KafkaFailover(Suite suite, Control control, String zookeeperConnect, Znodes znodes, Path work)
            throws Exception {
        this.suite = suite;
        this.control = control;
        this.znodes = znodes;
        this.brokers = new Broker[] {
            new Broker(1, zookeeperConnect, SESSION, work), new Broker(2, zookeeperConnect, SESSION, work)};
        this.clients = Clients.plain(brokers);
        Runtime.getRuntime().addShutdownHook(new Thread(this::killBrokers));
        for (Broker broker : brokers) {
            broker.start(logging);
        }
        this.admin = clients.admin();
    }

    private void run(int times) {
        if (suite.test("two brokers register, and records flow", this::begin)) {
            for (int time = 0; time < times; time++) {
                for (Disturbance disturbance : Disturbance.values()) {
                    suite.test(disturbance.toString(), () -> live(disturbance));
                }
            }
            suite.test("every acknowledged record is there once, in order, and was consumed once",
                    this::recordsAreCounted);
        }
        suite.test("brokers stop cleanly and the chroot is removed", this::end);
    }

    private void begin() throws Exception {
        await("both brokers are registered", () -> znodes.children("/brokers/ids").equals(List.of("1", "2")));
        await("a controller is elected", () -> znodes.controller() > 0);
        await("clients see both brokers", () -> admin.describeCluster().nodes().get().size() == 2);
        admin.createTopics(List.of(new NewTopic(STEADY, PARTITIONS, REPLICAS))).all().get();
        awaitInSync(STEADY, PARTITIONS);
        producer = new SteadyProducer(clients, STEADY, PARTITIONS);
        consumer = new SteadyConsumer(clients, STEADY);
        workOn();
    }

    private void live(Disturbance disturbance) throws Exception {
        Registrations before = registrations();
        disturbance.happen(control, PAUSE, this::workOn);
        control.say("wait");
        Registrations after = registrations();
        // Both are there in any case; their sessions may only end when nobody can hear them.
        if (disturbance != Disturbance.LEADER_PAUSED) {
            equal("registrations of brokers and controller", before, after);
        }
    }

    /** Records flow to the consumer, and topics are created, altered and deleted. */
    private void workOn() throws Exception {
        String topic = "change-" + topics++;
        int acknowledged = producer.acknowledged.size();
        int consumed = consumer.count();
        create(topic);
        awaitInSync(topic, 1);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        String key = "max.message.bytes";
        String value = Integer.toString(10_000 + topics);
        // Brokers hear of a new topic one after the other, and any of them may be asked.
        await("the " + key + " of " + topic + " is altered", () -> {
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(
                    new ConfigEntry(key, value), AlterConfigOp.OpType.SET)))).all().get();
            return true;
        });
        await("the brokers know the new " + key, () -> admin.describeConfigs(List.of(resource)).all().get()
                .get(resource).get(key).value().equals(value));
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get();
        awaitInSync(topic, 2);
        equal("records acknowledged in " + topic, 20, KafkaCompat.produce(clients, topic, 2, 20).size());
        admin.deleteTopics(List.of(topic)).all().get();
        await("the znode of " + topic + " is gone", () -> !znodes.exists("/brokers/topics/" + topic));
        await("records are acknowledged", () -> producer.acknowledged.size() > acknowledged + RECORDS);
        await("records are consumed", () -> consumer.count() > consumed + RECORDS);
    }

    private void create(String topic) throws Exception {
        try {
            admin.createTopics(List.of(new NewTopic(topic, 1, REPLICAS))).all().get();
        } catch (ExecutionException refused) {
            // The controller lost its connection, asked again, and met what it had made itself.
            if (!(refused.getCause() instanceof TopicExistsException)) {
                throw refused;
            }
        }
    }

    private void awaitInSync(String topic, int partitions) throws Exception {
        await(topic + " has both replicas in sync", () -> {
            var told = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
            return told.size() == partitions && told.stream().allMatch(
                    info -> info.isr().size() == REPLICAS && info.leader() != null);
        });
    }

    private record Registrations(Znodes.Born first, Znodes.Born second, Znodes.Born controller, int epoch) {
    }

    /** As soon as both brokers are there and one of them is controller. */
    private Registrations registrations() throws Exception {
        Registrations[] seen = new Registrations[1];
        await("both brokers are registered, and one is controller", () -> {
            Registrations now = new Registrations(znodes.born("/brokers/ids/1"),
                    znodes.born("/brokers/ids/2"), znodes.born("/controller"), znodes.controllerEpoch());
            seen[0] = now;
            long owner = now.controller.owner();
            return owner == now.first.owner() || owner == now.second.owner();
        });
        return seen[0];
    }

    private void recordsAreCounted() throws Exception {
        long sent = producer.stop();
        check("refused: " + producer.refused, producer.refused.isEmpty());
        equal("every record was acknowledged", sent, (long) producer.acknowledged.size());
        Tally.complete(clients, STEADY, producer.acknowledged);
        consumer.complete(producer.acknowledged);
    }

    private void end() throws Exception {
        for (Broker broker : brokers) {
            check("broker " + broker.id + " stops", broker.stop());
        }
        await("no broker is registered", () -> znodes.children("/brokers/ids").isEmpty());
        await("nothing of the chroot is left", znodes::deleteChroot);
    }

    private void killBrokers() {
        for (Broker broker : brokers) {
            try {
                broker.kill();
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
        }
    }
}

package meerkat.kafka;

import static meerkat.kafka.Suite.await;
import static meerkat.kafka.Suite.check;
import static meerkat.kafka.Suite.equal;
import static meerkat.kafka.Suite.fails;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Two brokers live through what an operator does to them while all their metadata, elections and
 * notifications go through the server under test. The tests build on each other, in order.
 */
public final class KafkaCompat {
    private static final Duration SESSION = Duration.ofSeconds(5);
    private static final String STEADY = "steady";
    private static final int STEADY_PARTITIONS = 6;
    private static final String GROUPED = "grouped";
    private static final int GROUPED_PARTITIONS = 4;
    private static final int GROUPED_RECORDS = 10_000;
    private static final String GUARDED = "guarded";
    private static final int GUARDED_PARTITIONS = 2;
    private static final int BIG_VALUE_BYTES = 20_000;
    private static final int SMALL_LIMIT_BYTES = 10_000;

    private final String logging = System.getProperty("log4j.configuration");
    private final Suite suite;
    private final Znodes znodes;
    private final Broker[] brokers;
    private final Clients clients;
    private final Admin admin;
    private SteadyProducer steady;

    public static void main(String[] arguments) {
        String connect = arguments[0];
        Path work = Path.of(arguments[1]);
        String chroot = "/kafka-" + UUID.randomUUID();
        Suite suite = new Suite();
        try (Znodes znodes = new Znodes(connect, chroot)) {
            boolean keeps = arguments.length > 2 && arguments[2].equals("--keep");
            new KafkaCompat(suite, connect + chroot, znodes, work).run(keeps);
        } catch (Exception problem) {
            suite.test("the server is reached and brokers are started", () -> {
                throw problem;
            });
        }
        System.exit(suite.finish("logs are kept in " + work) ? 0 : 1);
    }

    private KafkaCompat(Suite suite, String zookeeperConnect, Znodes znodes, Path work) throws Exception {
        this.suite = suite;
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

    /** Kept is what the brokers have written: for whoever wants a ZooKeeper that Kafka has filled. */
    private void run(boolean keeps) {
        // Without brokers every other test would only wait in vain.
        if (suite.test("two brokers register and elect a controller", this::brokersRegister)) {
            live();
        }
        if (keeps) {
            killBrokers();
            return;
        }
        suite.test("the chroot is removed", () -> {
            killBrokers();
            check("nothing of the chroot is left", znodes.deleteChroot());
        });
    }

    private void live() {
        suite.test("topics are created with replicas in sync", this::topicsAreCreated);
        suite.test("a consumer group shares the records and commits", this::groupConsumes);
        suite.test("partitions are added to a topic", this::partitionsAreAdded);
        suite.test("a topic is deleted everywhere", this::topicIsDeleted);
        suite.test("a topic's configuration changes while it is served", this::topicConfig);
        suite.test("a broker's configuration changes while it runs", this::brokerConfig);
        suite.test("client quotas are kept", this::clientQuotas);
        suite.test("SCRAM users are created and checked", this::scramUsers);
        suite.test("ACLs let in and keep out", this::aclsTakeEffect);
        suite.test("a partition moves to the other broker", this::partitionMoves);
        suite.test("a killed controller is replaced", this::controllerKilled);
        suite.test("the killed broker comes back and in-sync replicas grow", this::brokerReturns);
        suite.test("leaders go home by preferred election", this::preferredElection);
        suite.test("ACLs and users hold on a restarted broker", this::aclsAfterRestart);
        suite.test("a frozen controller loses its session and registers again", this::sessionExpires);
        suite.test("every acknowledged record is there once, in order", this::recordsAreCounted);
        suite.test("brokers stop cleanly and leave no ephemerals", this::brokersStop);
    }

    private void brokersRegister() throws Exception {
        await("both brokers are registered", () -> znodes.children("/brokers/ids").equals(List.of("1", "2")));
        await("a controller is elected", () -> znodes.controller() > 0);
        long[] owners = {znodes.owner("/brokers/ids/1"), znodes.owner("/brokers/ids/2")};
        check("registrations are ephemeral", owners[0] != 0 && owners[1] != 0 && owners[0] != owners[1]);
        equal("the controller's znode is its broker's", owners[znodes.controller() - 1],
                znodes.owner("/controller"));
        equal("first controller epoch", 1, znodes.controllerEpoch());
        await("clients see both brokers", () -> admin.describeCluster().nodes().get().size() == 2);
        equal("cluster id", znodes.json("/cluster/id").get("id").asText(),
                admin.describeCluster().clusterId().get());
    }

    private void topicsAreCreated() throws Exception {
        admin.createTopics(List.of(
                new NewTopic(STEADY, STEADY_PARTITIONS, (short) 2),
                new NewTopic(GROUPED, GROUPED_PARTITIONS, (short) 2),
                new NewTopic(GUARDED, GUARDED_PARTITIONS, (short) 2))).all().get();
        awaitInSync(STEADY, STEADY_PARTITIONS);
        awaitInSync(GROUPED, GROUPED_PARTITIONS);
        awaitInSync(GUARDED, GUARDED_PARTITIONS);
        Set<Integer> leaders = new HashSet<>();
        for (int partition = 0; partition < STEADY_PARTITIONS; partition++) {
            leaders.add(znodes.leader(STEADY, partition));
        }
        equal("both brokers lead", Set.of(1, 2), leaders);
        fails(TopicExistsException.class, "creating a topic again", () ->
                admin.createTopics(List.of(new NewTopic(STEADY, 1, (short) 1))).all().get());
        equal("partitions after the refused creation", STEADY_PARTITIONS,
                znodes.children("/brokers/topics/" + STEADY + "/partitions").size());
    }

    private void groupConsumes() throws Exception {
        produce(clients, GROUPED, GROUPED_PARTITIONS, GROUPED_RECORDS);
        Map<Long, Integer> seen = new TreeMap<>();
        try (KafkaConsumer<Long, byte[]> one = clients.consumer("group");
                KafkaConsumer<Long, byte[]> two = clients.consumer("group")) {
            one.subscribe(List.of(GROUPED));
            two.subscribe(List.of(GROUPED));
            // Both join before either may take a record, so that the shares are settled.
            await("each member has half of the partitions", () -> {
                one.poll(Duration.ofMillis(100)).forEach(record -> seen.merge(record.key(), 1, Integer::sum));
                two.poll(Duration.ofMillis(100)).forEach(record -> seen.merge(record.key(), 1, Integer::sum));
                one.commitSync();
                two.commitSync();
                return one.assignment().size() == 2 && two.assignment().size() == 2;
            });
            await("the group has every record", () -> {
                one.poll(Duration.ofMillis(100)).forEach(record -> seen.merge(record.key(), 1, Integer::sum));
                two.poll(Duration.ofMillis(100)).forEach(record -> seen.merge(record.key(), 1, Integer::sum));
                return seen.size() == GROUPED_RECORDS;
            });
            one.commitSync();
            two.commitSync();
        }
        check("no record came twice", seen.values().stream().allMatch(times -> times == 1));
        long committed = admin.listConsumerGroupOffsets("group").partitionsToOffsetAndMetadata().get()
                .values().stream().mapToLong(at -> at.offset()).sum();
        equal("committed offsets", (long) GROUPED_RECORDS, committed);
    }

    private void partitionsAreAdded() throws Exception {
        String topic = "growing";
        admin.createTopics(List.of(new NewTopic(topic, 1, (short) 2))).all().get();
        awaitInSync(topic, 1);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        awaitInSync(topic, 3);
        equal("partition znodes", List.of("0", "1", "2"),
                znodes.children("/brokers/topics/" + topic + "/partitions"));
        Tally.complete(clients, topic, produce(clients, topic, 3, 30));
    }

    private void topicIsDeleted() throws Exception {
        String topic = "doomed";
        admin.createTopics(List.of(new NewTopic(topic, 3, (short) 2))).all().get();
        awaitInSync(topic, 3);
        produce(clients, topic, 3, 300);
        admin.deleteTopics(List.of(topic)).all().get();
        await("its znodes are gone", () -> !znodes.exists("/brokers/topics/" + topic)
                && !znodes.exists("/config/topics/" + topic)
                && !znodes.exists("/admin/delete_topics/" + topic));
        await("no broker lists it", () -> !admin.listTopics().names().get().contains(topic));
        for (Broker broker : brokers) {
            await("broker " + broker.id + " removed its files", () -> broker.partitionDirectories()
                    .stream().noneMatch(name -> name.startsWith(topic)));
        }
        admin.createTopics(List.of(new NewTopic(topic, 1, (short) 2))).all().get();
        awaitInSync(topic, 1);
        // The new topic of this name starts empty.
        Tally.complete(clients, topic, produce(clients, topic, 1, 10));
    }

    private void topicConfig() throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, GROUPED);
        send(GROUPED, 0, BIG_VALUE_BYTES);
        set(topic, "max.message.bytes", Integer.toString(SMALL_LIMIT_BYTES));
        awaitTooLarge(GROUPED, 0);
        equal("znode", Integer.toString(SMALL_LIMIT_BYTES),
                znodes.json("/config/topics/" + GROUPED).get("config").get("max.message.bytes").asText());
        equal("source", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG,
                entry(topic, "max.message.bytes").source());
        unset(topic, "max.message.bytes");
        awaitAccepted(GROUPED, 0);
    }

    private void brokerConfig() throws Exception {
        // One broker alone: what it leads refuses, what its peer leads still takes.
        ConfigResource first = new ConfigResource(ConfigResource.Type.BROKER, "1");
        int led = partitionLedBy(1);
        int ledByPeer = partitionLedBy(2);
        set(first, "message.max.bytes", Integer.toString(SMALL_LIMIT_BYTES));
        awaitTooLarge(GROUPED, led);
        send(GROUPED, ledByPeer, BIG_VALUE_BYTES);
        equal("source", ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG,
                entry(first, "message.max.bytes").source());
        unset(first, "message.max.bytes");
        awaitAccepted(GROUPED, led);
        // Then all of them, through the default.
        ConfigResource all = new ConfigResource(ConfigResource.Type.BROKER, "");
        set(all, "message.max.bytes", Integer.toString(SMALL_LIMIT_BYTES));
        awaitTooLarge(GROUPED, led);
        awaitTooLarge(GROUPED, ledByPeer);
        check("default's znode", znodes.exists("/config/brokers/<default>"));
        unset(all, "message.max.bytes");
        awaitAccepted(GROUPED, led);
        awaitAccepted(GROUPED, ledByPeer);
    }

    private void clientQuotas() throws Exception {
        ClientQuotaEntity user = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, "näme with/slash"));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user,
                List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1_000_000.0))))).all().get();
        await("the quota is told", () -> Map.of("producer_byte_rate", 1_000_000.0).equals(
                admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().get(user)));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user,
                List.of(new ClientQuotaAlteration.Op("producer_byte_rate", null))))).all().get();
        await("the quota is gone", () -> !admin.describeClientQuotas(ClientQuotaFilter.all())
                .entities().get().containsKey(user));
    }

    private void scramUsers() throws Exception {
        admin.alterUserScramCredentials(List.of(scram("alice", "alice-secret"),
                scram("bob", "bob-secret"), scram("carol", "carol-secret"))).all().get();
        equal("users", Set.of("alice", "bob", "carol"),
                admin.describeUserScramCredentials().all().get().keySet());
        await("alice may log in", () -> {
            listTopics("alice", "alice-secret");
            return true;
        });
        fails(SaslAuthenticationException.class, "a wrong password",
                () -> listTopics("alice", "bob-secret"));
        await("carol may log in", () -> {
            listTopics("carol", "carol-secret");
            return true;
        });
        admin.alterUserScramCredentials(List.of(
                new UserScramCredentialDeletion("carol", ScramMechanism.SCRAM_SHA_256))).all().get();
        await("carol is out", () -> refuses(SaslAuthenticationException.class,
                () -> listTopics("carol", "carol-secret")));
    }

    private void aclsTakeEffect() throws Exception {
        Clients alice = Clients.named("alice", "alice-secret", brokers);
        Clients bob = Clients.named("bob", "bob-secret", brokers);
        fails(AuthorizationException.class, "alice before any ACL",
                () -> produce(alice, GUARDED, GUARDED_PARTITIONS, 1));
        List<AclBinding> grants = List.of(
                grant("alice", AclOperation.WRITE, ResourceType.TOPIC, GUARDED, PatternType.LITERAL),
                grant("alice", AclOperation.READ, ResourceType.TOPIC, "guard", PatternType.PREFIXED),
                grant("alice", AclOperation.READ, ResourceType.GROUP, "alice-", PatternType.PREFIXED));
        admin.createAcls(grants).all().get();
        await("the ACLs are listed", () -> new HashSet<>(admin.describeAcls(AclBindingFilter.ANY)
                .values().get()).equals(new HashSet<>(grants)));
        awaitMayProduce(alice);
        fails(AuthorizationException.class, "bob without an ACL",
                () -> produce(bob, GUARDED, GUARDED_PARTITIONS, 1));
        check("alice reads what she wrote", read(alice, "alice-group", GUARDED) > 0);
        fails(AuthorizationException.class, "alice in a group that is not hers",
                () -> read(alice, "other-group", GUARDED));
        check("literal ACLs' znode", znodes.exists("/kafka-acl/Topic/" + GUARDED));
        check("prefixed ACLs' znode", znodes.exists("/kafka-acl-extended/prefixed/Topic/guard"));
        // Bob comes and goes.
        AclBinding bobs = grant("bob", AclOperation.WRITE, ResourceType.TOPIC, GUARDED, PatternType.LITERAL);
        admin.createAcls(List.of(bobs)).all().get();
        awaitMayProduce(bob);
        admin.deleteAcls(List.of(bobs.toFilter())).all().get();
        await("bob is kept out again", () -> refuses(AuthorizationException.class,
                () -> produce(bob, GUARDED, GUARDED_PARTITIONS, 2)));
    }

    private void partitionMoves() throws Exception {
        String topic = "moving";
        admin.createTopics(List.of(new NewTopic(topic, Map.of(0, List.of(1), 1, List.of(1))))).all().get();
        awaitInSync(topic, 2, List.of(1));
        Set<Long> written = produce(clients, topic, 2, 1_000);
        admin.alterPartitionReassignments(Map.of(
                new TopicPartition(topic, 0), Optional.of(new NewPartitionReassignment(List.of(2))),
                new TopicPartition(topic, 1), Optional.of(new NewPartitionReassignment(List.of(2, 1)))))
                .all().get();
        await("nothing is on the move any more",
                () -> admin.listPartitionReassignments().reassignments().get().isEmpty());
        await("its znodes tell the new replicas", () -> znodes.isr(topic, 0).equals(List.of(2))
                && znodes.leader(topic, 0) == 2 && znodes.isr(topic, 1).equals(List.of(1, 2)));
        await("broker 1 removed the files of the partition that left", () ->
                !brokers[0].partitionDirectories().contains(topic + "-0"));
        Tally.complete(clients, topic, written);
    }

    private void controllerKilled() throws Exception {
        steady = new SteadyProducer(clients, STEADY, STEADY_PARTITIONS);
        await("records flow", () -> steady.acknowledged.size() > 500);
        int victim = znodes.controller();
        int survivor = 3 - victim;
        int epoch = znodes.controllerEpoch();
        brokers[victim - 1].kill();
        await("the other broker is controller", () -> znodes.controller() == survivor);
        await("the epoch has grown", () -> znodes.controllerEpoch() == epoch + 1);
        await("the dead broker's registration is gone",
                () -> znodes.children("/brokers/ids").equals(List.of(Integer.toString(survivor))));
        equal("/controller is the survivor's ephemeral", znodes.owner("/brokers/ids/" + survivor),
                znodes.owner("/controller"));
        for (int partition = 0; partition < STEADY_PARTITIONS; partition++) {
            int at = partition;
            await("the survivor leads " + STEADY + "-" + at + " alone", () ->
                    znodes.leader(STEADY, at) == survivor && znodes.isr(STEADY, at).equals(List.of(survivor)));
        }
        awaitFlow();
        String topic = "born-in-the-outage";
        admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        awaitInSync(topic, 1, List.of(survivor));
        Tally.complete(clients, topic, produce(clients, topic, 1, 100));
    }

    private void brokerReturns() throws Exception {
        int survivor = znodes.controller();
        int epoch = znodes.controllerEpoch();
        for (Broker broker : brokers) {
            if (!broker.alive()) {
                broker.start(logging);
            }
        }
        await("both are registered", () -> znodes.children("/brokers/ids").equals(List.of("1", "2")));
        awaitInSync(STEADY, STEADY_PARTITIONS);
        awaitInSync(GUARDED, GUARDED_PARTITIONS);
        awaitInSync(GROUPED, GROUPED_PARTITIONS);
        equal("the controller stays", survivor, znodes.controller());
        equal("the epoch stays", epoch, znodes.controllerEpoch());
        awaitFlow();
    }

    private void preferredElection() throws Exception {
        int survivor = znodes.controller();
        for (int partition = 0; partition < STEADY_PARTITIONS; partition++) {
            equal("leader before the election", survivor, znodes.leader(STEADY, partition));
        }
        for (String topic : List.of(STEADY, GUARDED, GROUPED)) {
            Map<Integer, Integer> preferred = new TreeMap<>();
            Set<TopicPartition> partitions = new HashSet<>();
            for (TopicPartitionInfo info : admin.describeTopics(List.of(topic)).allTopicNames().get()
                    .get(topic).partitions()) {
                preferred.put(info.partition(), info.replicas().get(0).id());
                partitions.add(new TopicPartition(topic, info.partition()));
            }
            admin.electLeaders(ElectionType.PREFERRED, partitions).partitions().get();
            await("each partition of " + topic + " is led by its first replica", () -> {
                for (Map.Entry<Integer, Integer> home : preferred.entrySet()) {
                    if (znodes.leader(topic, home.getKey()) != home.getValue()) {
                        return false;
                    }
                }
                return true;
            });
        }
        awaitFlow();
    }

    private void aclsAfterRestart() throws Exception {
        // The partitions are led by both brokers again, so both authorizers are asked.
        equal("leaders", Set.of(1, 2), Set.of(znodes.leader(GUARDED, 0), znodes.leader(GUARDED, 1)));
        awaitMayProduce(Clients.named("alice", "alice-secret", brokers));
        for (Broker broker : brokers) {
            Clients bob = Clients.named("bob", "bob-secret", broker);
            fails(AuthorizationException.class, "bob at broker " + broker.id,
                    () -> produce(bob, GUARDED, GUARDED_PARTITIONS, 2));
        }
    }

    private void sessionExpires() throws Exception {
        int victim = znodes.controller();
        int survivor = 3 - victim;
        int epoch = znodes.controllerEpoch();
        String registration = "/brokers/ids/" + victim;
        long session = znodes.owner(registration);
        brokers[victim - 1].freeze();
        try {
            await("its registration is gone", () -> !znodes.exists(registration));
            await("the other broker is controller", () -> znodes.controller() == survivor);
            awaitFlow();
        } finally {
            brokers[victim - 1].thaw();
        }
        await("it is registered again", () -> znodes.exists(registration));
        check("with a new session", znodes.owner(registration) != session);
        awaitInSync(STEADY, STEADY_PARTITIONS);
        equal("the controller is still the other", survivor, znodes.controller());
        equal("the epoch grew once", epoch + 1, znodes.controllerEpoch());
        awaitFlow();
    }

    private void recordsAreCounted() throws Exception {
        long sent = steady.stop();
        check("refused: " + steady.refused, steady.refused.isEmpty());
        equal("every record was acknowledged", sent, (long) steady.acknowledged.size());
        Tally.complete(clients, STEADY, steady.acknowledged);
    }

    private void brokersStop() throws Exception {
        int controller = znodes.controller();
        Broker other = brokers[2 - controller];
        check("broker " + other.id + " stops", other.stop());
        // A clean stop closes the session: no waiting for its end.
        equal("registrations", List.of(Integer.toString(controller)), znodes.children("/brokers/ids"));
        check("broker " + controller + " stops", brokers[controller - 1].stop());
        equal("registrations", List.of(), znodes.children("/brokers/ids"));
        check("no controller", !znodes.exists("/controller"));
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

    private void awaitInSync(String topic, int partitions) throws Exception {
        awaitInSync(topic, partitions, List.of(1, 2));
    }

    /** These replicas are in sync on every partition: for ZooKeeper, for clients and for the leader. */
    private void awaitInSync(String topic, int partitions, List<Integer> replicas) throws Exception {
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            int at = partition;
            await(topic + "-" + at + " has " + replicas + " in sync",
                    () -> znodes.isr(topic, at).equals(replicas));
            ends.put(new TopicPartition(topic, at), OffsetSpec.latest());
        }
        await("clients see " + topic + " in sync", () -> {
            List<TopicPartitionInfo> told = admin.describeTopics(List.of(topic)).allTopicNames().get()
                    .get(topic).partitions();
            return told.size() == partitions && told.stream().allMatch(
                    info -> info.isr().size() == replicas.size() && info.leader() != null);
        });
        // A leader may be told about its partition after others are; asking it is the only proof.
        await("leaders of " + topic + " serve",
                () -> admin.listOffsets(ends).all().get().size() == partitions);
    }

    /** Records sent after this call are acknowledged, on every partition. */
    private void awaitFlow() throws InterruptedException {
        int before = steady.acknowledged.size();
        await("records flow", () -> steady.acknowledged.size() > before + 1_000);
    }

    /** Sends numbers from 0 round robin over the partitions; all are acknowledged or it throws. */
    static Set<Long> produce(Clients as, String topic, int partitions, int count) throws Exception {
        Set<Long> numbers = new HashSet<>();
        List<Future<?>> pending = new ArrayList<>();
        try (KafkaProducer<Long, byte[]> producer = as.producer()) {
            for (long number = 0; number < count; number++) {
                numbers.add(number);
                pending.add(producer.send(new ProducerRecord<>(topic, (int) (number % partitions), number,
                        new byte[100])));
            }
            for (Future<?> one : pending) {
                one.get();
            }
        }
        return numbers;
    }

    private void send(String topic, int partition, int bytes) throws Exception {
        try (KafkaProducer<Long, byte[]> producer = clients.producer()) {
            producer.send(new ProducerRecord<>(topic, partition, -1L, new byte[bytes])).get();
        }
    }

    private void awaitTooLarge(String topic, int partition) throws InterruptedException {
        await(topic + "-" + partition + " refuses big records", () -> refuses(
                RecordTooLargeException.class, () -> send(topic, partition, BIG_VALUE_BYTES)));
    }

    private void awaitAccepted(String topic, int partition) throws InterruptedException {
        await(topic + "-" + partition + " takes big records", () -> {
            send(topic, partition, BIG_VALUE_BYTES);
            return true;
        });
    }

    /** The principal may write to every partition of the guarded topic, whoever leads it. */
    private static void awaitMayProduce(Clients as) throws InterruptedException {
        await("producing is allowed",
                () -> produce(as, GUARDED, GUARDED_PARTITIONS, 10).size() == 10);
    }

    /** How many records the group's first member gets before the topic runs dry for a moment. */
    private static int read(Clients as, String group, String topic) {
        int count = 0;
        try (KafkaConsumer<Long, byte[]> consumer = as.consumer(group)) {
            consumer.subscribe(List.of(topic));
            long deadline = System.nanoTime() + Suite.PATIENCE.toNanos();
            while (count == 0 && System.nanoTime() < deadline) {
                for (ConsumerRecord<Long, byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    count += record.value().length > 0 ? 1 : 0;
                }
            }
        }
        return count;
    }

    private int partitionLedBy(int broker) throws Exception {
        for (int partition = 0; partition < GROUPED_PARTITIONS; partition++) {
            if (znodes.leader(GROUPED, partition) == broker) {
                return partition;
            }
        }
        throw new AssertionError("broker " + broker + " leads nothing of " + GROUPED);
    }

    private void listTopics(String user, String password) throws Exception {
        for (Broker broker : brokers) {
            try (Admin named = Clients.named(user, password, broker).admin()) {
                named.listTopics().names().get();
            }
        }
    }

    private void set(ConfigResource resource, String key, String value) throws Exception {
        alter(resource, new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET));
    }

    private void unset(ConfigResource resource, String key) throws Exception {
        alter(resource, new AlterConfigOp(new ConfigEntry(key, ""), AlterConfigOp.OpType.DELETE));
    }

    private void alter(ConfigResource resource, AlterConfigOp op) throws Exception {
        Map<ConfigResource, Collection<AlterConfigOp>> change = Map.of(resource, List.of(op));
        admin.incrementalAlterConfigs(change).all().get();
    }

    private ConfigEntry entry(ConfigResource resource, String key) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(key);
    }

    /** Whether the call fails with this cause; any other failure is thrown. */
    private static boolean refuses(Class<? extends Exception> kind, Suite.Test call) throws Exception {
        try {
            call.run();
            return false;
        } catch (ExecutionException refused) {
            if (kind.isInstance(refused.getCause())) {
                return true;
            }
            throw refused;
        }
    }

    private static UserScramCredentialUpsertion scram(String user, String password) {
        return new UserScramCredentialUpsertion(user,
                new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), password);
    }

    private static AclBinding grant(String user, AclOperation operation, ResourceType kind, String name,
            PatternType pattern) {
        return new AclBinding(new ResourcePattern(kind, name, pattern),
                new AccessControlEntry("User:" + user, "*", operation, AclPermissionType.ALLOW));
    }
}

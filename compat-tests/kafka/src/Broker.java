package meerkat.kafka;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/** One Kafka broker as a child process: a plain listener for its peer and us, a SCRAM one for users. */
final class Broker {
    /**
     * Below the range outgoing connections are given ports from: none is lost while a broker is down.
     * Above those of the harness's ensembles, for the same reason.
     */
    private static final int PORT_FIRST = 23_000;
    private static final int PORT_LAST = 31_999;
    private static int nextPort = PORT_FIRST;

    final int id;
    final String plain;
    final String scram;
    private final Path home;
    private final Path config;
    private final Path log;
    private Process process;

    Broker(int id, String zookeeperConnect, Duration session, Path work) throws IOException {
        this.id = id;
        this.home = Files.createDirectory(work.resolve("broker-" + id));
        this.config = home.resolve("server.properties");
        this.log = work.resolve("broker-" + id + ".log");
        this.plain = "127.0.0.1:" + freePort();
        this.scram = "127.0.0.1:" + freePort();
        Map<String, String> keys = new TreeMap<>();
        keys.put("broker.id", Integer.toString(id));
        keys.put("zookeeper.connect", zookeeperConnect);
        keys.put("zookeeper.session.timeout.ms", Long.toString(session.toMillis()));
        keys.put("listeners", "PLAIN://" + plain + ",USERS://" + scram);
        keys.put("listener.security.protocol.map", "PLAIN:PLAINTEXT,USERS:SASL_PLAINTEXT");
        keys.put("inter.broker.listener.name", "PLAIN");
        keys.put("sasl.enabled.mechanisms", "SCRAM-SHA-256");
        keys.put("listener.name.users.scram-sha-256.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;");
        keys.put("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer");
        // The plain listener has no names: peers and the driver are its only users.
        keys.put("super.users", "User:ANONYMOUS");
        keys.put("log.dirs", home.resolve("data").toString());
        keys.put("auto.create.topics.enable", "false");
        // Leaders go home when the test says so.
        keys.put("auto.leader.rebalance.enable", "false");
        keys.put("offsets.topic.replication.factor", "2");
        keys.put("offsets.topic.num.partitions", "4");
        keys.put("transaction.state.log.replication.factor", "2");
        keys.put("transaction.state.log.num.partitions", "2");
        keys.put("group.initial.rebalance.delay.ms", "0");
        keys.put("replica.lag.time.max.ms", "5000");
        keys.put("log.segment.delete.delay.ms", "500");
        keys.put("log.initial.task.delay.ms", "1000");
        keys.put("controlled.shutdown.max.retries", "1");
        keys.put("controlled.shutdown.retry.backoff.ms", "500");
        keys.put("num.network.threads", "1");
        keys.put("num.io.threads", "2");
        keys.put("log.cleaner.dedupe.buffer.size", "4194304");
        keys.put("log.index.size.max.bytes", "1048576");
        StringBuilder text = new StringBuilder();
        keys.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
        Files.writeString(config, text);
    }

    void start(String logging) throws IOException {
        ProcessBuilder java = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dlog4j.configuration=" + logging,
                "-cp", System.getProperty("java.class.path"),
                "kafka.Kafka", config.toString());
        File sink = log.toFile();
        process = java.redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(sink)).start();
    }

    boolean alive() {
        return process != null && process.isAlive();
    }

    /** SIGKILL: nothing is flushed, no session is closed. */
    void kill() throws InterruptedException {
        if (process != null) {
            process.destroyForcibly().waitFor();
        }
    }

    /** SIGTERM: a controlled shutdown; true when the broker ended in time. */
    boolean stop() throws InterruptedException {
        process.destroy();
        return process.waitFor(Suite.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    void freeze() throws Exception {
        signal("STOP");
    }

    void thaw() throws Exception {
        signal("CONT");
    }

    /** Names of the partition directories (`topic-0`) this broker holds. */
    List<String> partitionDirectories() throws IOException {
        try (var entries = Files.list(home.resolve("data"))) {
            return entries.filter(Files::isDirectory).map(entry -> entry.getFileName().toString())
                    .sorted().toList();
        }
    }

    private void signal(String name) throws Exception {
        Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).start();
        Suite.equal("kill -" + name, 0, kill.waitFor());
    }

    private static int freePort() throws IOException {
        while (nextPort <= PORT_LAST) {
            int port = nextPort++;
            try (ServerSocket probe = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
                return probe.getLocalPort();
            } catch (IOException taken) {
                // The next one, then.
            }
        }
        throw new IOException("no free port from " + PORT_FIRST + " to " + PORT_LAST);
    }
}

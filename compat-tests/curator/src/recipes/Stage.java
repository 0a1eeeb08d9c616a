package recipes;

import org.apache.curator.framework.CuratorFramework;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.locks.LockSupport;

/**
 * One competing process: its client, its place in the contest, and the line to the process that
 * started it.
 */
public final class Stage {
    /** How often each process goes through its critical section. */
    static final int ROUNDS = 8;

    /** The victim stops inside at this round, so that it has done some work before. */
    private static final int VICTIM_ROUND = 2;

    private static final long WORK_MILLIS = 3;

    final CuratorFramework client;
    final String root;
    final String id;
    private final boolean victim;
    private final History history;
    private final BlockingQueue<String> commands = new LinkedBlockingQueue<>();
    private int entered;

    private Stage(
            String connect, int sessionMillis, String root, String id, boolean victim, Path history)
            throws Exception {
        this.root = root;
        this.id = id;
        this.victim = victim;
        this.history = new History(history);
        Thread reader = new Thread(this::readCommands, "commands");
        reader.setDaemon(true);
        reader.start();
        client = Clients.start(connect, sessionMillis);
    }

    public static void main(String[] arguments) throws Exception {
        Contestant contestant =
                (Contestant) Class.forName(arguments[0]).getDeclaredConstructor().newInstance();
        Stage stage =
                new Stage(
                        arguments[1],
                        Integer.parseInt(arguments[2]),
                        arguments[3],
                        arguments[4],
                        Boolean.parseBoolean(arguments[5]),
                        Path.of(arguments[6]));
        stage.say("ready");
        stage.await("go");
        contestant.compete(stage);
        stage.client.close();
        stage.say("done");
        System.exit(0);
    }

    private void readCommands() {
        try (BufferedReader reader =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                commands.add(line);
            }
        } catch (IOException e) {
            // Treated as the end of input below.
        }
        // The process that started us is gone.
        System.exit(2);
    }

    String path(String name) {
        return root + "/" + name;
    }

    void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    void await(String command) throws InterruptedException {
        String got = commands.take();
        if (!got.equals(command)) {
            throw new IllegalStateException("expected the command " + command + ", got " + got);
        }
    }

    void record(String what) throws IOException {
        history.append(id, what);
    }

    /**
     * What the recipe must keep others out of: a counter read and written back without regard to
     * its version.
     */
    void critical() throws Exception {
        record("enter");
        holdIfVictim();
        int value = Integer.parseInt(new String(client.getData().forPath(path("counter"))));
        Thread.sleep(WORK_MILLIS);
        client.setData().forPath(path("counter"), Integer.toString(value + 1).getBytes());
        record("leave");
    }

    /** The victim stops here for good at its second time, and waits to be killed. */
    void holdIfVictim() {
        entered++;
        if (victim && entered == VICTIM_ROUND) {
            hold();
        }
    }

    /** The victim tells that it has work behind it and goes on, to be killed at any moment. */
    void tellIfVictim() {
        entered++;
        if (victim && entered == VICTIM_ROUND) {
            say("holding");
        }
    }

    boolean isVictim() {
        return victim;
    }

    private void hold() {
        say("holding");
        while (true) {
            LockSupport.park();
        }
    }
}

package recipes;

import compat.Child;
import compat.Expect;
import compat.Server;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Three processes competing for one recipe; one of them, "a", is the victim and is killed while it
 * holds.
 */
final class Contest extends Arena {
    static final String VICTIM = "a";

    /**
     * A session lasts for its timeout from its last sign of life. An idle client gives one each
     * third of it, and on a loaded machine up to another third later.
     */
    static final long HELD_MILLIS = Server.SHORT_SESSION_MILLIS / 3;

    final Map<String, Child> children = new LinkedHashMap<>();
    final History history;
    private final Path file;

    Contest(Class<? extends Contestant> contestant) throws Exception {
        file = Files.createTempFile("history", null);
        history = new History(file);
        client.create().forPath(path("counter"), "0".getBytes());
        for (String id : new String[] {VICTIM, "b", "c"}) {
            // Only those that get killed need a short session; the others must not lose theirs on a
            // busy machine.
            int sessionMillis =
                    id.equals(VICTIM) ? Server.SHORT_SESSION_MILLIS : Server.LONG_SESSION_MILLIS;
            children.put(
                    id,
                    new Child(
                            Stage.class,
                            contestant.getName(),
                            Server.CONNECT,
                            Integer.toString(sessionMillis),
                            root,
                            id,
                            Boolean.toString(id.equals(VICTIM)),
                            file.toString()));
        }
        for (Child child : children.values()) {
            child.await("ready", WAIT_MILLIS);
        }
    }

    /** Starts all at once. */
    Contest go() {
        tell("go");
        return this;
    }

    void tell(String command) {
        children.values().forEach(child -> child.say(command));
    }

    /** Kills the victim as soon as it holds what they compete for. */
    void killHolder() throws Exception {
        children.get(VICTIM).await("holding", WAIT_MILLIS);
        kill(VICTIM);
    }

    void kill(String id) throws Exception {
        children.remove(id).kill();
        history.append(id, "killed");
    }

    /** All that live finish their rounds. */
    void awaitOthers() throws Exception {
        for (Child child : children.values()) {
            child.await("done", WAIT_MILLIS);
            child.awaitExit(WAIT_MILLIS);
        }
    }

    /**
     * The usual contest: nobody inside together with the holder, everyone gets in, no update lost.
     */
    void exclusive() throws Exception {
        go();
        killHolder();
        awaitOthers();
        history.insideAtMost(1, HELD_MILLIS);
        everyRoundCounted();
    }

    void everyRoundCounted() throws Exception {
        for (String id : children.keySet()) {
            long rounds =
                    history.lines("leave").stream().filter(line -> line.who().equals(id)).count();
            Expect.equal((long) Stage.ROUNDS, rounds, "rounds of " + id);
        }
        String counter = new String(client.getData().forPath(path("counter")));
        Expect.equal(
                Integer.toString(history.lines("leave").size()),
                counter,
                "counter kept without versions");
    }

    @Override
    public void close() throws Exception {
        children.values().forEach(Child::close);
        Files.deleteIfExists(file);
        super.close();
    }
}

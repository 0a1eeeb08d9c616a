package compat;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/** Disturbs the servers of an ensemble: the line protocol of the harness's with-ensemble. */
public final class Control implements Closeable {
    /** Longer than the harness itself waits for a server or a leader. */
    private static final int ANSWER_LIMIT_MILLIS = 240_000;

    private final Socket socket;
    private final BufferedReader answers;

    /** Speaks to the harness that {@code ZK_CONTROL} names. */
    public Control() throws IOException {
        String address = System.getenv("ZK_CONTROL");
        if (address == null) {
            throw new IllegalStateException("ZK_CONTROL is not set; run this by with-ensemble");
        }
        int colon = address.lastIndexOf(':');
        socket =
                new Socket(
                        address.substring(0, colon),
                        Integer.parseInt(address.substring(colon + 1)));
        socket.setSoTimeout(ANSWER_LIMIT_MILLIS);
        answers =
                new BufferedReader(
                        new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
    }

    /** Returns what follows "ok" when the deed is done. */
    public synchronized String say(String line) throws IOException {
        OutputStream output = socket.getOutputStream();
        output.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        output.flush();
        String answer = answers.readLine();
        if (answer == null || !answer.startsWith("ok")) {
            throw new AssertionError(line + ": " + answer);
        }
        return answer.substring("ok".length()).trim();
    }

    /** The same, for an answer that begins with the id of a server. */
    public String serverOf(String line) throws IOException {
        return say(line).split(" ")[0];
    }

    /** A server that does not lead. */
    public String follower() throws IOException {
        String leader = serverOf("leader");
        for (String id : say("ids").split(" ")) {
            if (!id.equals(leader)) {
                return id;
            }
        }
        throw new AssertionError("the leader " + leader + " is alone");
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}

package compat;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Another JVM with our class path. It is spoken to by lines: its standard input and output. */
public final class Child implements Closeable {
    private static final int EXIT_LIMIT_SECONDS = 10;

    private final String name;
    private final Process process;
    private final PrintStream input;
    private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    private final List<String> seen = Collections.synchronizedList(new ArrayList<>());

    public Child(Class<?> mainClass, String... arguments) throws IOException {
        name = mainClass.getSimpleName() + " " + String.join(" ", arguments);
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        // Cheap to start: there are many children and few cores.
        command.addAll(
                List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx96m", "-Xshare:auto"));
        String hostsFile = System.getProperty("jdk.net.hosts.file");
        if (hostsFile != null) {
            command.add("-Djdk.net.hosts.file=" + hostsFile);
        }
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), mainClass.getName()));
        command.addAll(List.of(arguments));
        process =
                new ProcessBuilder(command)
                        .redirectError(ProcessBuilder.Redirect.INHERIT)
                        .directory(new File(System.getProperty("java.io.tmpdir")))
                        .start();
        input = new PrintStream(process.getOutputStream(), true, StandardCharsets.UTF_8);
        Thread reader = new Thread(this::readLines, "child-output");
        reader.setDaemon(true);
        reader.start();
    }

    private void readLines() {
        try (BufferedReader reader =
                new BufferedReader(
                        new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                seen.add(line);
                lines.add(line);
            }
        } catch (IOException e) {
            // It was killed in the middle of a line.
        }
    }

    public void say(String line) {
        input.println(line);
    }

    /** Reads lines until one that starts with the word; returns the rest of that line. */
    public String await(String word, long limitMillis) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(limitMillis);
        while (true) {
            String line =
                    lines.poll(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            if (line == null) {
                throw new AssertionError(
                        name
                                + " did not say '"
                                + word
                                + "' within "
                                + limitMillis
                                + " ms; it said "
                                + seen);
            }
            if (line.equals(word) || line.startsWith(word + " ")) {
                return line.substring(word.length()).trim();
            }
        }
    }

    /** SIGKILL: the process gets no chance to close its session. */
    public void kill() throws InterruptedException {
        process.destroyForcibly();
        if (!process.waitFor(EXIT_LIMIT_SECONDS, TimeUnit.SECONDS)) {
            throw new AssertionError(name + " survived SIGKILL");
        }
    }

    /** The process must end by itself with status 0. */
    public void awaitExit(long limitMillis) throws InterruptedException {
        if (!process.waitFor(limitMillis, TimeUnit.MILLISECONDS)) {
            throw new AssertionError(
                    name + " still runs after " + limitMillis + " ms; it said " + seen);
        }
        Expect.equal(0, process.exitValue(), name + " exit status, having said " + seen);
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}

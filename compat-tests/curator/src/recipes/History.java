package recipes;

import compat.Expect;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What happened, in one file that all processes append to. Each line is one write in append mode,
 * so the order of the lines is an order in time that every process agrees on: "NANOS WHO WHAT".
 *
 * <p>A process appends "enter" after it got what it competed for, and "leave" before it gives it
 * back. Two processes inside at once are therefore visible, whatever the server told them.
 */
final class History {
    private final Path file;

    History(Path file) {
        this.file = file;
    }

    record Line(long nanos, String who, String what) {}

    void append(String who, String what) throws IOException {
        // nanoTime is one clock for all processes of a machine.
        byte[] line =
                (System.nanoTime() + " " + who + " " + what + "\n")
                        .getBytes(StandardCharsets.UTF_8);
        try (FileChannel channel =
                FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            channel.write(ByteBuffer.wrap(line));
        }
    }

    List<Line> lines() throws IOException {
        List<Line> lines = new ArrayList<>();
        if (Files.exists(file)) {
            for (String text : Files.readAllLines(file)) {
                String[] parts = text.split(" ", 3);
                lines.add(new Line(Long.parseLong(parts[0]), parts[1], parts[2]));
            }
        }
        return lines;
    }

    List<Line> lines(String firstWord) throws IOException {
        return lines().stream()
                .filter(line -> line.what().split(" ")[0].equals(firstWord))
                .toList();
    }

    /** What followed the word, in order. */
    List<String> details(String firstWord) throws IOException {
        return lines(firstWord).stream()
                .map(line -> line.what().substring(firstWord.length()).trim())
                .toList();
    }

    /**
     * At no time were more than this many inside; returns the most that were. A killed process
     * keeps what it had until its session expires, so it counts as inside for this long after the
     * kill.
     */
    int insideAtMost(int limit, long heldMillis) throws IOException {
        Map<String, Long> inside = new HashMap<>();
        int most = 0;
        for (Line line : lines()) {
            inside.values().removeIf(until -> until <= line.nanos());
            switch (line.what()) {
                case "enter" ->
                        Expect.that(
                                inside.put(line.who(), Long.MAX_VALUE) == null,
                                line.who() + " entered twice");
                case "leave" ->
                        Expect.that(
                                inside.remove(line.who()) != null,
                                line.who() + " left without having entered");
                case "killed" ->
                        inside.computeIfPresent(
                                line.who(),
                                (who, forever) -> line.nanos() + heldMillis * 1_000_000);
                default -> {}
            }
            most = Math.max(most, inside.size());
            Expect.that(
                    inside.size() <= limit,
                    inside.keySet()
                            + " were inside together, "
                            + limit
                            + " may be; "
                            + line
                            + " in "
                            + lines());
        }
        return most;
    }
}

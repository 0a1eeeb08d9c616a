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
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * What happened, in one file that all processes append to. Each line is one write in append mode, so
 * the order of the lines is an order in time that every process agrees on: "NANOS WHO WHAT".
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
        byte[] line = (System.nanoTime() + " " + who + " " + what + "\n").getBytes(StandardCharsets.UTF_8);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
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
        return lines().stream().filter(line -> line.what().split(" ")[0].equals(firstWord)).toList();
    }

    /** What followed the word, in order. */
    List<String> details(String firstWord) throws IOException {
        return lines(firstWord).stream().map(line -> line.what().substring(firstWord.length()).trim()).toList();
    }

    /** At no time were more than this many inside; returns the most that were. */
    int insideAtMost(int limit) throws IOException {
        Set<String> inside = new HashSet<>();
        int most = 0;
        for (Line line : lines()) {
            switch (line.what()) {
                case "enter" -> Expect.that(inside.add(line.who()), line.who() + " entered twice");
                case "leave" -> Expect.that(inside.remove(line.who()), line.who() + " left without having entered");
                case "killed" -> inside.remove(line.who());
                default -> { }
            }
            most = Math.max(most, inside.size());
            Expect.that(inside.size() <= limit, inside + " were inside together, " + limit + " may be; " + lines());
        }
        return most;
    }

    /** A killed process keeps what it had until its session expires: nobody entered too soon after the kill. */
    void heldAfterKill(long leastMillis) throws IOException {
        long killed = lines("killed").get(0).nanos();
        lines("enter").stream().filter(line -> line.nanos() > killed).findFirst().ifPresent(next -> {
            long millis = (next.nanos() - killed) / 1_000_000;
            Expect.that(millis >= leastMillis, next.who() + " entered " + millis + " ms after the holder was killed, expected at least " + leastMillis);
        });
    }
}

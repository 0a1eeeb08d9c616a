package compat;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** A TCP relay in front of the server, so that a check can cut its own connection. */
public final class Proxy implements Closeable {
    private static final int BUFFER_BYTES = 16 * 1024;

    private final ServerSocket listener;
    private final InetSocketAddress target;
    private final List<Socket> open = new ArrayList<>();
    private boolean refusing;
    private int accepted;

    public Proxy() throws IOException {
        this(Server.address());
    }

    public Proxy(InetSocketAddress target) throws IOException {
        this.target = target;
        listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        start(this::acceptAll);
    }

    public String connect() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Connections relayed so far. */
    public synchronized int accepted() {
        return accepted;
    }

    /** Drops every connection; new ones are relayed again at once. */
    public synchronized void cut() {
        open.forEach(Proxy::closeQuietly);
        open.clear();
    }

    /** Drops every connection and turns new ones away until {@link #heal()}. */
    public synchronized void split() {
        refusing = true;
        cut();
    }

    public synchronized void heal() {
        refusing = false;
    }

    @Override
    public synchronized void close() throws IOException {
        listener.close();
        cut();
    }

    private void acceptAll() {
        try {
            while (true) {
                relay(listener.accept());
            }
        } catch (IOException e) {
            // The listener was closed: the relay is over.
        }
    }

    private synchronized void relay(Socket client) {
        if (refusing) {
            closeQuietly(client);
            return;
        }
        Socket server = new Socket();
        try {
            server.connect(target);
            client.setTcpNoDelay(true);
            server.setTcpNoDelay(true);
        } catch (IOException e) {
            closeQuietly(client);
            closeQuietly(server);
            return;
        }
        accepted++;
        open.add(client);
        open.add(server);
        start(() -> copy(client, server));
        start(() -> copy(server, client));
    }

    private static void copy(Socket source, Socket target) {
        byte[] buffer = new byte[BUFFER_BYTES];
        try (InputStream in = source.getInputStream();
                OutputStream out = target.getOutputStream()) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                out.write(buffer, 0, count);
            }
        } catch (IOException e) {
            // One side is gone; closing both below tells the other.
        }
        closeQuietly(source);
        closeQuietly(target);
    }

    private static void start(Runnable body) {
        Thread thread = new Thread(body, "proxy");
        thread.setDaemon(true);
        thread.start();
    }

    private static void closeQuietly(Socket socket) {
        try {
            socket.close();
        } catch (IOException e) {
            // It is being thrown away.
        }
    }
}

package compat;

import java.net.InetSocketAddress;
import java.security.SecureRandom;

/** The server under test, as named by {@code ZK_CONNECT}. */
public final class Server {
    public static final String CONNECT = fromEnvironment();

    /**
     * Servers take at least two ticks; with the longest tick the contract allows (2 s) that is 4 s.
     */
    public static final int SHORT_SESSION_MILLIS = 4_000;

    /**
     * For clients that must live through a loaded machine; every allowed tick grants at least 10 s.
     */
    public static final int LONG_SESSION_MILLIS = 10_000;

    /** Expiry is rounded up to a whole tick (2 s at most); the rest is for a loaded machine. */
    public static final int EXPIRY_SLACK_MILLIS = 6_000;

    private Server() {}

    private static String fromEnvironment() {
        String connect = System.getenv("ZK_CONNECT");
        if (connect == null || !connect.matches("[^,/]+:[0-9]+")) {
            throw new IllegalStateException("ZK_CONNECT must be HOST:PORT, it is " + connect);
        }
        return connect;
    }

    public static InetSocketAddress address() {
        int colon = CONNECT.lastIndexOf(':');
        return new InetSocketAddress(
                CONNECT.substring(0, colon), Integer.parseInt(CONNECT.substring(colon + 1)));
    }

    /** A root path nobody else uses. */
    public static String freshRoot(String client) {
        return "/compat-" + client + "-" + Long.toHexString(new SecureRandom().nextLong());
    }
}

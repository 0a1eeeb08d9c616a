package client;

import static client.Client.refused;

import compat.Check;
import compat.Child;
import compat.Expect;
import compat.Proxy;
import compat.Server;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;

import java.util.Collections;
import java.util.concurrent.TimeUnit;

/** Sessions: negotiated, kept over lost connections, taken over, expired, refused. */
public final class SessionChecks {
    private static final int CHILD_START_MILLIS = 30_000;

    /**
     * Below two of the shortest ticks (500 ms); a client with less still would give up before it is
     * connected.
     */
    private static final int SHORTER_THAN_ANY_MILLIS = 400;

    @Check
    public void timeoutIsHeldBetweenTwoAndTwentyTicks() throws Exception {
        try (Client least = Client.open(Server.CONNECT, SHORTER_THAN_ANY_MILLIS);
                Client most = Client.open(Server.CONNECT, Integer.MAX_VALUE)) {
            int shortest = least.zk.getSessionTimeout();
            int longest = most.zk.getSessionTimeout();
            Expect.that(
                    shortest > SHORTER_THAN_ANY_MILLIS && shortest <= Server.SHORT_SESSION_MILLIS,
                    "shortest timeout is " + shortest);
            Expect.equal(10 * shortest, longest, "longest timeout");
            try (Client between = Client.open(Server.CONNECT, 3 * shortest)) {
                Expect.equal(3 * shortest, between.zk.getSessionTimeout(), "timeout within bounds");
            }
        }
    }

    @Check
    public void sessionSurvivesALostConnection() throws Exception {
        try (Proxy proxy = new Proxy();
                Client client = Client.open(proxy.connect())) {
            String node = client.create(client.root() + "/e", CreateMode.EPHEMERAL);
            long session = client.zk.getSessionId();
            byte[] password = client.zk.getSessionPasswd();
            for (int round = 0; round < 3; round++) {
                proxy.cut();
                client.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
                client.awaitConnected();
                Expect.equal(session, client.zk.getSessionId(), "session id");
                Expect.equal(password, client.zk.getSessionPasswd(), "password");
                Expect.equal(session, client.zk.exists(node, false).getEphemeralOwner(), "owner");
            }
            Expect.that(!client.events.sawState(KeeperState.Expired), "expired");
        }
    }

    @Check
    public void requestsOnALostConnectionFail() throws Exception {
        try (Proxy proxy = new Proxy();
                Client client = Client.open(proxy.connect())) {
            client.root();
            proxy.split();
            refused(Code.CONNECTIONLOSS, () -> client.zk.exists("/", false));
            proxy.heal();
            client.awaitConnected();
        }
    }

    /**
     * A second client object takes the session over with id and password; the first loses its
     * connection.
     */
    @Check
    public void anotherClientTakesTheSessionOver() throws Exception {
        try (Client watching = Client.open();
                Proxy proxy = new Proxy()) {
            Client first = Client.open(proxy.connect());
            String node = first.create(watching.root() + "/e", CreateMode.EPHEMERAL);
            long session = first.zk.getSessionId();
            proxy.split();
            Client second =
                    Client.attach(Server.CONNECT, session, first.zk.getSessionPasswd())
                            .awaitConnected();
            Expect.equal(session, second.zk.getSessionId(), "session of the second client");
            Expect.equal(session, second.zk.exists(node, false).getEphemeralOwner(), "owner");
            second.create(watching.root() + "/e2", CreateMode.EPHEMERAL);
            second.close();
            Expect.that(
                    !watching.exists(node) && !watching.exists(node + "2"),
                    "ephemerals outlived the close");
            proxy.heal();
            first.events.awaitState(KeeperState.Expired, Client.CONNECT_MILLIS);
            refused(Code.SESSIONEXPIRED, () -> first.zk.exists("/", false));
            first.zk.close();
        }
    }

    /** With both connections live, the newer one cuts the older one. */
    @Check
    public void aSessionHasOneConnection() throws Exception {
        try (Proxy proxy = new Proxy();
                Client first = Client.open(proxy.connect())) {
            first.root();
            Client second =
                    Client.attach(
                                    Server.CONNECT,
                                    first.zk.getSessionId(),
                                    first.zk.getSessionPasswd())
                            .awaitConnected();
            first.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
            second.zk.close();
            first.events.awaitState(KeeperState.Expired, Client.CONNECT_MILLIS);
            try (Client cleaner = Client.open()) {
                cleaner.zk.delete(first.root(), -1);
            }
        }
    }

    @Check
    public void wrongPasswordIsRefusedAndHurtsNobody() throws Exception {
        try (Client owner = Client.open()) {
            String node = owner.create(owner.root() + "/e", CreateMode.EPHEMERAL);
            byte[] wrong = owner.zk.getSessionPasswd().clone();
            wrong[3] ^= 1;
            Client thief = Client.attach(Server.CONNECT, owner.zk.getSessionId(), wrong);
            thief.events.awaitState(KeeperState.Expired, Client.CONNECT_MILLIS);
            Expect.that(
                    !thief.events.sawState(KeeperState.SyncConnected), "the thief was connected");
            thief.zk.close();
            try (Client other = Client.open()) {
                Expect.equal(
                        owner.zk.getSessionId(),
                        other.zk.exists(node, false).getEphemeralOwner(),
                        "owner");
            }
            // A server may drop the owner's connection at the thief's attempt, but not its session.
            Expect.eventually(
                    Client.CONNECT_MILLIS,
                    "the owner works on",
                    () -> {
                        try {
                            return owner.exists(node);
                        } catch (KeeperException.ConnectionLossException e) {
                            return false;
                        }
                    });
            Expect.that(!owner.events.sawState(KeeperState.Expired), "the owner's session expired");
        }
    }

    @Check
    public void sessionsNeverHeardOfAreExpired() throws Exception {
        Client client = Client.attach(Server.CONNECT, 0x1234567890abcdL, new byte[16]);
        client.events.awaitState(KeeperState.Expired, Client.CONNECT_MILLIS);
        refused(Code.SESSIONEXPIRED, () -> client.zk.exists("/", false));
        client.zk.close();
    }

    @Check
    public void aClosedHandleIsOfNoUse() throws Exception {
        Client client = Client.open();
        client.zk.close();
        refused(Code.SESSIONEXPIRED, () -> client.zk.exists("/", false));
    }

    /**
     * The ephemerals of a killed process stay for the session timeout and go within a tick or two
     * after it.
     */
    @Check(waits = true)
    public void killedClientExpiresAfterItsTimeoutAndNotBefore() throws Exception {
        try (Client watching = Client.open()) {
            String node = watching.root() + "/e";
            Events events = new Events();
            watching.zk.exists(node, events);
            try (Child child = new Child(Holder.class, node)) {
                int timeoutMillis = Integer.parseInt(child.await("made", CHILD_START_MILLIS));
                events.next(EventType.NodeCreated, node);
                watching.zk.exists(node, events);
                long beforeTouch = System.nanoTime();
                child.say("touch");
                child.await("touched", Client.CONNECT_MILLIS);
                child.kill();
                events.next(
                        EventType.NodeDeleted, node, timeoutMillis + Server.EXPIRY_SLACK_MILLIS);
                long livedMillis = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - beforeTouch);
                Expect.that(
                        livedMillis >= timeoutMillis,
                        "gone after " + livedMillis + " ms, the timeout is " + timeoutMillis);
                Expect.equal(
                        0,
                        watching.zk.exists(watching.root(), false).getNumChildren(),
                        "children left");
            }
        }
    }

    /** Pings alone keep a session, and each side hears of it: the handle sees no disconnect. */
    @Check(waits = true)
    public void idleSessionLivesOnPings() throws Exception {
        try (Client idle = Client.open(Server.CONNECT, Server.SHORT_SESSION_MILLIS);
                Client watching = Client.open()) {
            String node = idle.create(watching.root() + "/e", CreateMode.EPHEMERAL);
            Events events = new Events();
            watching.zk.exists(node, events);
            // The wait is the check: nothing may happen in three timeouts.
            Thread.sleep(3L * idle.zk.getSessionTimeout());
            watching.settle();
            events.none();
            Expect.that(
                    !idle.events.sawState(KeeperState.Disconnected),
                    "the idle client was disconnected");
            Expect.equal(
                    Collections.singletonList("e"),
                    watching.zk.getChildren(watching.root(), false),
                    "children");
        }
    }

    /** A split client finds its session expired when it comes back too late. */
    @Check(waits = true)
    public void comingBackTooLateIsExpired() throws Exception {
        try (Client watching = Client.open();
                Proxy proxy = new Proxy()) {
            Client client = Client.open(proxy.connect(), Server.SHORT_SESSION_MILLIS);
            String node = client.create(watching.root() + "/e", CreateMode.EPHEMERAL);
            Events events = new Events();
            watching.zk.exists(node, events);
            proxy.split();
            events.next(
                    EventType.NodeDeleted,
                    node,
                    client.zk.getSessionTimeout() + Server.EXPIRY_SLACK_MILLIS);
            proxy.heal();
            client.events.awaitState(KeeperState.Expired, Client.CONNECT_MILLIS);
            client.zk.close();
        }
    }
}

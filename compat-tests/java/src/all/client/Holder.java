package client;

import compat.Server;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * A process to be killed. It makes an ephemeral node and says "made SESSION-MILLIS"; at "touch" it
 * sends a request, so that the server hears of the session at a known time, and says "touched".
 */
public final class Holder {
    private Holder() {}

    public static void main(String[] arguments) throws Exception {
        Client client = Client.open(Server.CONNECT, Server.SHORT_SESSION_MILLIS);
        client.zk.create(arguments[0], null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        System.out.println("made " + client.zk.getSessionTimeout());
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            client.zk.exists(arguments[0], false);
            System.out.println("touched");
        }
        client.close();
    }
}

package client;

import static client.Client.bytes;
import static client.Client.refused;

import compat.Check;
import compat.Expect;
import compat.Proxy;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Who may do what: the schemes world, auth, digest and ip, and authentication that fails. */
public final class AclChecks {
    private static List<ACL> acl(int perms, String scheme, String id) {
        return new ArrayList<>(Collections.singletonList(new ACL(perms, new Id(scheme, id))));
    }

    @Check
    public void eachPermissionGuardsItsCalls() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            String readable = client.create(root + "/r", acl(Perms.READ, "world", "anyone"));
            client.zk.getData(readable, false, null);
            client.zk.getChildren(readable, false);
            client.zk.getACL(readable, new Stat());
            refused(Code.NOAUTH, () -> client.zk.setData(readable, null, -1));
            refused(Code.NOAUTH, () -> client.create(readable + "/c"));
            refused(Code.NOAUTH, () -> client.zk.setACL(readable, Ids.OPEN_ACL_UNSAFE, -1));

            String writable = client.create(root + "/w", acl(Perms.WRITE, "world", "anyone"));
            client.zk.setData(writable, bytes("x"), 0);
            refused(Code.NOAUTH, () -> client.zk.getData(writable, false, null));
            refused(Code.NOAUTH, () -> client.zk.getChildren(writable, false));
            refused(Code.NOAUTH, () -> client.zk.exists(writable, false));
            refused(Code.NOAUTH, () -> client.zk.getACL(writable, new Stat()));

            // Deleting asks the parent, and the parent here grants creating only.
            String parent =
                    client.create(root + "/c", acl(Perms.CREATE | Perms.ADMIN, "world", "anyone"));
            client.create(parent + "/child");
            refused(Code.NOAUTH, () -> client.zk.delete(parent + "/child", -1));
            client.zk.setACL(parent, acl(Perms.DELETE | Perms.READ, "world", "anyone"), 0);
            refused(Code.NOAUTH, () -> client.create(parent + "/other"));
            client.zk.delete(parent + "/child", -1);

            String administered = client.create(root + "/a", acl(Perms.ADMIN, "world", "anyone"));
            client.zk.getACL(administered, new Stat());
            refused(Code.NOAUTH, () -> client.zk.getData(administered, false, null));
            client.zk.setACL(administered, Ids.OPEN_ACL_UNSAFE, 0);
            client.zk.getData(administered, false, null);
            for (String node : Arrays.asList("r", "w", "c")) {
                client.zk.delete(root + "/" + node, -1);
            }
        }
    }

    @Check
    public void authSchemeStoresTheCreator() throws Exception {
        try (Client owner = Client.open();
                Client stranger = Client.open()) {
            String node = owner.root() + "/mine";
            refused(Code.INVALIDACL, () -> owner.create(node, Ids.CREATOR_ALL_ACL));
            owner.zk.addAuthInfo("digest", bytes("alice:secret"));
            owner.create(node, Ids.CREATOR_ALL_ACL);
            String id = DigestAuthenticationProvider.generateDigest("alice:secret");
            Expect.equal(
                    acl(Perms.ALL, "digest", id), owner.zk.getACL(node, new Stat()), "stored ACL");

            refused(Code.NOAUTH, () -> stranger.zk.getData(node, false, null));
            refused(Code.NOAUTH, () -> stranger.zk.setData(node, null, -1));
            stranger.zk.addAuthInfo("digest", bytes("alice:wrong"));
            refused(Code.NOAUTH, () -> stranger.zk.getData(node, false, null));
            stranger.zk.addAuthInfo("digest", bytes("alice:secret"));
            Expect.equal(
                    bytes("data"),
                    stranger.zk.getData(node, false, null),
                    "data with the right password");
            owner.zk.delete(node, -1);
        }
    }

    @Check
    public void digestIdsAreHiddenFromThoseWhoMayNotAdminister() throws Exception {
        try (Client owner = Client.open();
                Client reader = Client.open()) {
            owner.zk.addAuthInfo("digest", bytes("bob:pw"));
            String id = DigestAuthenticationProvider.generateDigest("bob:pw");
            List<ACL> list = acl(Perms.ALL, "digest", id);
            list.add(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE));
            String node = owner.create(owner.root() + "/n", list);
            Expect.equal(
                    sorted(list),
                    sorted(owner.zk.getACL(node, new Stat())),
                    "ACL seen by the owner");
            list.set(0, new ACL(Perms.ALL, new Id("digest", "bob:x")));
            Expect.equal(
                    sorted(list),
                    sorted(reader.zk.getACL(node, new Stat())),
                    "ACL seen by a reader");
        }
    }

    private static List<String> sorted(List<ACL> list) {
        List<String> lines = new ArrayList<>();
        list.forEach(
                acl ->
                        lines.add(
                                acl.getPerms()
                                        + " "
                                        + acl.getId().getScheme()
                                        + " "
                                        + acl.getId().getId()));
        Collections.sort(lines);
        return lines;
    }

    @Check
    public void ipSchemeComparesTheAddress() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            String ours = client.create(root + "/ours", acl(Perms.ALL, "ip", "127.0.0.1"));
            client.zk.getData(ours, false, null);
            String net = client.create(root + "/net", acl(Perms.ALL, "ip", "127.9.9.9/8"));
            client.zk.getData(net, false, null);
            String other = client.create(root + "/other", acl(Perms.ALL, "ip", "10.1.2.3"));
            refused(Code.NOAUTH, () -> client.zk.getData(other, false, null));
            String narrow = client.create(root + "/narrow", acl(Perms.ALL, "ip", "127.0.0.2/31"));
            refused(Code.NOAUTH, () -> client.zk.getData(narrow, false, null));
            client.zk.delete(other, -1);
            client.zk.delete(narrow, -1);
        }
    }

    @Check
    public void aclsThatAreNoneAreRefused() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/n");
            for (List<ACL> bad :
                    Arrays.asList(
                            acl(Perms.ALL, "nosuchscheme", "x"),
                            acl(Perms.ALL, "world", "somebody"),
                            acl(Perms.ALL, "digest", "nocolon"),
                            acl(Perms.ALL, "ip", "not.an.address"),
                            acl(Perms.ALL, "ip", "127.0.0.1/33"),
                            acl(Perms.ALL, "auth", ""),
                            new ArrayList<ACL>())) {
                refused(Code.INVALIDACL, () -> client.create(node + "/c", bad));
                refused(Code.INVALIDACL, () -> client.zk.setACL(node, bad, 0));
            }
            Expect.equal(
                    Ids.OPEN_ACL_UNSAFE, client.zk.getACL(node, new Stat()), "ACL after refusals");
        }
    }

    @Check
    public void identitiesAddUpAndSurviveAReconnect() throws Exception {
        try (Proxy proxy = new Proxy();
                Client client = Client.open(proxy.connect())) {
            client.zk.addAuthInfo("digest", bytes("one:1"));
            client.zk.addAuthInfo("digest", bytes("two:2"));
            List<ACL> one =
                    acl(Perms.ALL, "digest", DigestAuthenticationProvider.generateDigest("one:1"));
            List<ACL> two =
                    acl(Perms.ALL, "digest", DigestAuthenticationProvider.generateDigest("two:2"));
            String first = client.create(client.root() + "/one", one);
            String second = client.create(client.root() + "/two", two);
            client.zk.getData(first, false, null);
            client.zk.getData(second, false, null);
            proxy.cut();
            client.events.awaitState(KeeperState.Disconnected, Client.CONNECT_MILLIS);
            client.awaitConnected();
            client.zk.getData(first, false, null);
            client.zk.getData(second, false, null);
        }
    }

    @Check
    public void unknownSchemeFailsAuthentication() throws Exception {
        Client client = Client.open();
        client.zk.addAuthInfo("nosuchscheme", bytes("x"));
        client.events.awaitState(KeeperState.AuthFailed, Client.CONNECT_MILLIS);
        refused(Code.AUTHFAILED, () -> client.zk.exists("/", false));
        refused(Code.AUTHFAILED, () -> client.create("/compat-java-never", CreateMode.EPHEMERAL));
        client.zk.close();
    }
}

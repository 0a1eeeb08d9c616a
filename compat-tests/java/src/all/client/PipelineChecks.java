package client;

import static client.Client.bytes;

import compat.Check;
import compat.Expect;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs.Ids;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;

/**
 * Thousands of requests in flight on one connection: answered in order, each reading what was
 * written before it.
 */
public final class PipelineChecks {
    private static final int REQUESTS = 4_000;

    @Check
    public void repliesComeInTheOrderOfTheRequests() throws Exception {
        try (Client client = Client.open()) {
            String node = client.create(client.root() + "/n");
            List<Integer> order = Collections.synchronizedList(new ArrayList<>());
            List<String> wrong = Collections.synchronizedList(new ArrayList<>());
            for (int i = 0; i < REQUESTS; i++) {
                int number = i;
                int version = i / 2;
                if (i % 2 == 0) {
                    client.zk.setData(
                            node,
                            bytes("v" + version),
                            version,
                            (code, path, context, stat) -> {
                                order.add(number);
                                if (code != 0 || stat.getVersion() != version + 1) {
                                    wrong.add("setData " + number + ": " + code);
                                }
                            },
                            null);
                } else {
                    client.zk.getData(
                            node,
                            false,
                            (code, path, context, data, stat) -> {
                                order.add(number);
                                if (code != 0
                                        || !new String(data).equals("v" + version)
                                        || stat.getVersion() != version + 1) {
                                    wrong.add("getData " + number + ": " + code);
                                }
                            },
                            null);
                }
            }
            client.settle();
            Expect.equal(Collections.emptyList(), wrong, "replies that are wrong");
            Expect.equal(numbers(REQUESTS), order, "order of the replies");
        }
    }

    @Check
    public void sequentialNamesFollowTheRequests() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<String> names = Collections.synchronizedList(new ArrayList<>());
            List<String> wanted = new ArrayList<>();
            for (int i = 0; i < REQUESTS; i++) {
                client.zk.create(
                        root + "/s",
                        null,
                        Ids.OPEN_ACL_UNSAFE,
                        CreateMode.EPHEMERAL_SEQUENTIAL,
                        (code, path, context, name) -> names.add(name),
                        null);
                wanted.add(String.format("%s/s%010d", root, i));
            }
            client.settle();
            Expect.equal(wanted, names, "names in order of their replies");
            Expect.equal(REQUESTS, client.zk.getChildren(root, false).size(), "children");
        }
    }

    /** Refused requests keep their place among the others. */
    @Check
    public void errorsKeepTheirPlace() throws Exception {
        try (Client client = Client.open()) {
            String root = client.root();
            List<Integer> codes = Collections.synchronizedList(new ArrayList<>());
            List<Integer> wanted = new ArrayList<>();
            for (int i = 0; i < 500; i++) {
                client.zk.create(
                        root + "/n" + i,
                        null,
                        Ids.OPEN_ACL_UNSAFE,
                        CreateMode.PERSISTENT,
                        (code, path, context, name) -> codes.add(code),
                        null);
                client.zk.create(
                        root + "/n" + i,
                        null,
                        Ids.OPEN_ACL_UNSAFE,
                        CreateMode.PERSISTENT,
                        (code, path, context, name) -> codes.add(code),
                        null);
                client.zk.getData(
                        root + "/missing",
                        false,
                        (code, path, context, data, stat) -> codes.add(code),
                        null);
                client.zk.delete(
                        root + "/n" + i, 0, (code, path, context) -> codes.add(code), null);
                client.zk.exists(
                        root + "/n" + i,
                        false,
                        (code, path, context, stat) -> codes.add(code),
                        null);
                wanted.addAll(Arrays.asList(0, -110, -101, 0, -101));
            }
            client.settle();
            Expect.equal(wanted, codes, "codes in order");
        }
    }

    @Check
    public void manyClientsAtOnceLoseNothing() throws Exception {
        int clients = 8;
        int each = 500;
        try (Client owner = Client.open()) {
            String root = owner.root();
            List<Client> open = new ArrayList<>();
            TreeSet<String> names = new TreeSet<>();
            try {
                for (int i = 0; i < clients; i++) {
                    open.add(Client.open());
                }
                for (int i = 0; i < each; i++) {
                    for (Client client : open) {
                        client.zk.create(
                                root + "/s",
                                null,
                                Ids.OPEN_ACL_UNSAFE,
                                CreateMode.PERSISTENT_SEQUENTIAL,
                                (code, path, context, name) -> {
                                    synchronized (names) {
                                        names.add(code + " " + name);
                                    }
                                },
                                null);
                    }
                }
                for (Client client : open) {
                    client.settle();
                }
            } finally {
                open.forEach(Client::close);
            }
            TreeSet<String> wanted = new TreeSet<>();
            for (int i = 0; i < clients * each; i++) {
                wanted.add(String.format("0 %s/s%010d", root, i));
            }
            Expect.equal(wanted, names, "names of all clients together");
        }
    }

    private static List<Integer> numbers(int count) {
        List<Integer> numbers = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            numbers.add(i);
        }
        return numbers;
    }
}

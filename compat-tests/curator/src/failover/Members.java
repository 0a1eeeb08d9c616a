package failover;

import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;

/**
 * GroupMember, PersistentNode and service discovery: everybody sees who registered, which goes with
 * its session. Nodes of the first two are there all the time, as their zxids tell; service discovery
 * makes its nodes anew after each cut.
 */
final class Members extends Recipe {
    private static final long SEEN_MILLIS = 20_000;
    private static final String SERVICE = "printer";

    private final String root;
    private final CuratorFramework reader;
    private final List<Registration> all = new CopyOnWriteArrayList<>();

    /** The zxid that created each node, as it was seen first. */
    private final Map<String, Long> born = new TreeMap<>();

    Members(String root, CuratorFramework reader) throws Exception {
        this.root = root;
        this.reader = reader;
        for (String parent : parents()) {
            reader.create().creatingParentsIfNeeded().forPath(parent);
        }
    }

    private List<String> lasting() {
        return List.of(root + "/group", root + "/nodes");
    }

    private List<String> parents() {
        List<String> parents = new ArrayList<>(lasting());
        parents.add(root + "/services/" + SERVICE);
        return parents;
    }

    private final class Registration implements Work {
        private final User user;
        private final GroupMember member;
        private final PersistentNode node;
        private final ServiceDiscovery<Void> discovery;
        private final ServiceCache<Void> services;

        Registration(User user) throws Exception {
            this.user = user;
            member = new GroupMember(user.client, root + "/group", user.id);
            member.start();
            node =
                    new PersistentNode(
                            user.client,
                            CreateMode.EPHEMERAL,
                            false,
                            root + "/nodes/" + user.id,
                            user.id.getBytes());
            node.start();
            Expect.that(
                    node.waitForInitialCreate(SEEN_MILLIS, TimeUnit.MILLISECONDS),
                    "the node is created");
            ServiceInstance<Void> instance =
                    ServiceInstance.<Void>builder()
                            .name(SERVICE)
                            .id(user.id)
                            .address("127.0.0.1")
                            .port(1)
                            .build();
            discovery =
                    ServiceDiscoveryBuilder.builder(Void.class)
                            .client(user.client)
                            .basePath(root + "/services")
                            .thisInstance(instance)
                            .build();
            discovery.start();
            services = discovery.serviceCacheBuilder().name(SERVICE).build();
            services.start();
        }

        @Override
        public boolean round() throws Exception {
            return discovery.queryForInstance(SERVICE, user.id) != null;
        }

        void sees(Set<String> ids) throws Exception {
            String whose = user.id + "'s ";
            Expect.becomes(
                    SEEN_MILLIS,
                    ids,
                    whose + "group",
                    () -> new TreeSet<>(member.getCurrentMembers().keySet()));
            Expect.becomes(
                    SEEN_MILLIS, ids, whose + "cached services", () -> ids(services.getInstances()));
            Expect.becomes(
                    SEEN_MILLIS,
                    ids,
                    whose + "services",
                    () -> ids(discovery.queryForInstances(SERVICE)));
        }

        @Override
        public void close() {
            // They stay until the client's session goes.
        }
    }

    private static Set<String> ids(Iterable<ServiceInstance<Void>> instances) {
        Set<String> ids = new TreeSet<>();
        instances.forEach(one -> ids.add(one.getId()));
        return ids;
    }

    @Override
    Work begin(User user) throws Exception {
        Registration registration = new Registration(user);
        all.add(registration);
        return registration;
    }

    @Override
    void checkAtRest() throws Exception {
        Set<String> ids = new TreeSet<>();
        all.forEach(one -> ids.add(one.user.id));
        for (Registration one : all) {
            one.sees(ids);
        }
        reader.sync().forPath(root);
        for (String parent : lasting()) {
            for (String id : ids) {
                String path = parent + "/" + id;
                Stat stat = reader.checkExists().forPath(path);
                Expect.that(stat != null, path + " is there");
                Long zxid = born.putIfAbsent(path, stat.getCzxid());
                Expect.that(
                        zxid == null || zxid == stat.getCzxid(), path + " has gone and come again");
            }
        }
    }

    /** To be called when all sessions are closed. */
    void allGo() throws Exception {
        for (String parent : parents()) {
            Expect.becomes(
                    SEEN_MILLIS, List.of(), parent, () -> reader.getChildren().forPath(parent));
        }
    }
}

package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.curator.x.discovery.strategies.RoundRobinStrategy;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** x-discovery: services that register, are found, and vanish with their process. */
public final class ServiceDiscoveryChecks implements Contestant {
    private static final String SERVICE = "printer";

    private static ServiceDiscovery<String> discovery(CuratorFramework client, String root)
            throws Exception {
        ServiceDiscovery<String> discovery =
                ServiceDiscoveryBuilder.builder(String.class)
                        .client(client)
                        .basePath(root + "/services")
                        .build();
        discovery.start();
        return discovery;
    }

    private static ServiceInstance<String> instance(String id, String payload) throws Exception {
        return ServiceInstance.<String>builder()
                .name(SERVICE)
                .id(id)
                .address("127.0.0.1")
                .port(id.charAt(0))
                .payload(payload)
                .build();
    }

    @Override
    public void compete(Stage stage) throws Exception {
        try (ServiceDiscovery<String> discovery = discovery(stage.client, stage.root)) {
            ServiceInstance<String> mine = instance(stage.id, "old");
            discovery.registerService(mine);
            stage.say("holding");
            stage.await("update");
            discovery.updateService(instance(stage.id, "new"));
            stage.await("unregister");
            discovery.unregisterService(mine);
            stage.await("stop");
        }
    }

    @Check
    public void findsTheLivingAndNotTheKilled() throws Exception {
        try (Contest contest = new Contest(ServiceDiscoveryChecks.class);
                ServiceDiscovery<String> discovery = discovery(contest.client, contest.root);
                ServiceCache<String> cache = discovery.serviceCacheBuilder().name(SERVICE).build();
                ServiceProvider<String> provider =
                        discovery
                                .serviceProviderBuilder()
                                .serviceName(SERVICE)
                                .providerStrategy(new RoundRobinStrategy<>())
                                .build()) {
            cache.start();
            provider.start();
            contest.go();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("a", "b", "c"),
                    "instances in the cache",
                    () -> ids(cache.getInstances()));
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("a", "b", "c"),
                    "instances of the provider",
                    () -> ids(provider.getAllInstances()));
            Expect.equal(
                    Set.of("a", "b", "c"),
                    ids(
                            List.of(
                                    provider.getInstance(),
                                    provider.getInstance(),
                                    provider.getInstance())),
                    "three of a round robin");
            Expect.equal(
                    (int) 'b', discovery.queryForInstance(SERVICE, "b").getPort(), "port of b");
            Expect.equal(Set.of(SERVICE), Set.copyOf(discovery.queryForNames()), "names");

            contest.killHolder();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("b", "c"),
                    "instances after the kill",
                    () -> ids(cache.getInstances()));
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("b", "c"),
                    "instances of the provider after the kill",
                    () -> ids(provider.getAllInstances()));
            Expect.equal(null, discovery.queryForInstance(SERVICE, "a"), "the killed instance");

            contest.tell("update");
            Expect.eventually(
                    Arena.WAIT_MILLIS,
                    "the cache sees new payloads",
                    () ->
                            cache.getInstances().size() == 2
                                    && cache.getInstances().stream()
                                            .allMatch(one -> one.getPayload().equals("new")));
            contest.tell("unregister");
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of(),
                    "instances after they unregistered",
                    () -> ids(discovery.queryForInstances(SERVICE)));
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of(),
                    "instances in the cache after they unregistered",
                    () -> ids(cache.getInstances()));
            contest.tell("stop");
            contest.awaitOthers();
        }
    }

    private static Set<String> ids(Iterable<ServiceInstance<String>> instances) {
        Set<String> ids = new TreeSet<>();
        instances.forEach(one -> ids.add(one.getId()));
        return ids;
    }
}

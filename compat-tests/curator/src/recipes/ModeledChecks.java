package recipes;

import static recipes.AsyncChecks.get;
import static recipes.AsyncChecks.refused;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.x.async.AsyncCuratorFramework;
import org.apache.curator.x.async.modeled.JacksonModelSerializer;
import org.apache.curator.x.async.modeled.ModelSpec;
import org.apache.curator.x.async.modeled.ModeledFramework;
import org.apache.curator.x.async.modeled.ZPath;
import org.apache.curator.x.async.modeled.cached.CachedModeledFramework;
import org.apache.curator.x.async.modeled.cached.ModeledCacheListener;
import org.apache.curator.x.async.modeled.versioned.Versioned;
import org.apache.curator.x.async.modeled.versioned.VersionedModeledFramework;
import org.apache.zookeeper.KeeperException;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/** x-async's typed nodes, with versions and with a cache. */
public final class ModeledChecks {
    /** What the nodes hold. */
    public static final class Person {
        public String name;
        public int age;

        static Person of(String name, int age) {
            Person person = new Person();
            person.name = name;
            person.age = age;
            return person;
        }

        @Override
        public String toString() {
            return name + " " + age;
        }
    }

    private static ModeledFramework<Person> people(CuratorFramework client, String root) {
        ModelSpec<Person> spec =
                ModelSpec.builder(
                                ZPath.parse(root + "/people"),
                                JacksonModelSerializer.build(Person.class))
                        .build();
        return ModeledFramework.wrap(AsyncCuratorFramework.wrap(client), spec);
    }

    @Check
    public void objectsAreStoredAndGuardedByVersion() throws Exception {
        try (Arena arena = new Arena()) {
            ModeledFramework<Person> ada = people(arena.client, arena.root).child("ada");
            get(ada.set(Person.of("Ada", 36)));
            Expect.equal("Ada 36", get(ada.read()).toString(), "read");
            VersionedModeledFramework<Person> versioned = ada.versioned();
            Versioned<Person> seen = get(versioned.read());
            get(versioned.update(Versioned.from(Person.of("Ada", 37), seen.version())));
            refused(
                    KeeperException.BadVersionException.class,
                    versioned.update(Versioned.from(Person.of("Ada", 99), seen.version())));
            Expect.equal("Ada 37", get(ada.read()).toString(), "read after a refused update");
            get(ada.delete());
            refused(KeeperException.NoNodeException.class, ada.read());
        }
    }

    @Check
    public void theCacheFollowsAnotherClient() throws Exception {
        try (Arena arena = new Arena();
                CuratorFramework other = Clients.start()) {
            ModeledFramework<Person> writer = people(other, arena.root);
            get(writer.child("ada").set(Person.of("Ada", 36)));
            try (CachedModeledFramework<Person> cached =
                    people(arena.client, arena.root).cached()) {
                Map<String, String> told = Collections.synchronizedMap(new TreeMap<>());
                ModeledCacheListener<Person> listener =
                        (type, path, stat, person) -> {
                            if (type == ModeledCacheListener.Type.NODE_REMOVED) {
                                told.remove(path.nodeName());
                            } else {
                                told.put(path.nodeName(), String.valueOf(person));
                            }
                        };
                cached.listenable().addListener(listener);
                cached.start();
                get(writer.child("bob").set(Person.of("Bob", 1)));
                get(writer.child("bob").update(Person.of("Bob", 2)));
                get(writer.child("ada").delete());
                Expect.becomes(
                        Arena.WAIT_MILLIS,
                        Map.of("bob", "Bob 2"),
                        "sum of the events",
                        () -> {
                            Map<String, String> people = new TreeMap<>(told);
                            people.remove("people");
                            return people;
                        });
                Expect.equal(
                        "Bob 2", get(cached.child("bob").read()).toString(), "read from the cache");
            }
        }
    }
}

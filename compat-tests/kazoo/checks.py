"""What a kazoo user relies on, checked against the server named by ZK_CONNECT.

Each check gets a root of its own and runs beside a few others. Where processes compete they
are real ones (`worker.py`), and one of them, `victim`, dies by SIGKILL while it holds what the
others want. `checks.py NAME...` runs only the checks named.
"""

import os
import queue
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor

from kazoo.client import KazooState
from kazoo.exceptions import (
    BadVersionError,
    InvalidACLError,
    LockTimeout,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType
from kazoo.recipe.cache import TreeCache
from kazoo.recipe.watchers import PatientChildrenWatch
from kazoo.security import CREATOR_ALL_ACL, make_acl, make_digest_acl

from worker import SESSION_S, connect

AT_ONCE = 5
WAIT_S = 45
BASE = f"/compat-kazoo-{uuid.uuid4().hex[:12]}"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Worker:
    """A competing process and the lines it said so far."""

    def __init__(self, kind, root, name, *rest):
        self.name = name
        self.said = []
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "worker.py"), kind, root, name]
            + [str(word) for word in rest],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.said.append(line.split())
            self.lines.put(line.split())
        self.lines.put(None)

    def expect(self, word, wait_s=WAIT_S):
        """The next line that begins with `word`, everything before it passed over."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.name}: no `{word}` in {self.said[-5:]}") from None
            if line is None:
                raise AssertionError(f"{self.name} ended before `{word}`: {self.errors()}")
            if line[0] == word:
                return line[1:]

    def errors(self):
        return self.process.stderr.read()[-2000:]

    def tell(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self):
        code = self.process.wait(WAIT_S)
        assert code == 0, f"{self.name} ended with {code}: {self.errors()}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stderr.close()

    def count(self, word):
        return sum(line[0] == word for line in self.said)


class Room:
    """One check's client, root and processes."""

    def __init__(self, name):
        self.root = f"{BASE}/{name}"
        self.client = connect()
        self.client.create(self.root, makepath=True)
        self.clients = [self.client]
        self.workers = []

    def make(self, *pairs):
        for name, value in pairs:
            self.client.create(f"{self.root}/{name}", value)

    def another(self, **options):
        client = connect(**options)
        self.clients.append(client)
        return client

    def worker(self, kind, name, *rest):
        worker = Worker(kind, self.root, name, *rest)
        self.workers.append(worker)
        return worker

    def three(self, kind, *rest):
        return [self.worker(kind, name, *rest) for name in ("first", "victim", "third")]

    def number(self, name):
        return int(self.client.get(f"{self.root}/{name}")[0])

    def close(self):
        for worker in self.workers:
            worker.close()
        for client in self.clients:
            client.stop()
            client.close()


def until(condition, what, wait_s=WAIT_S):
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.02)


def raises(error, call, *arguments, **options):
    try:
        result = call(*arguments, **options)
    except error:
        return
    raise AssertionError(f"no {error.__name__} but {result!r}")


def expire(client):
    """Ends a client's session: a bare connection takes it over and closes it in one breath,
    since kazoo's own reconnect would soon take it back."""
    session, password = client.client_id
    connect_body = struct.pack(">iqiqi16s?", 0, 0, 10000, session, 16, password, False)
    close_body = struct.pack(">ii", 1, -11)
    host, port = os.environ["ZK_CONNECT"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as twin:
        for body in (connect_body, close_body):
            twin.sendall(struct.pack(">i", len(body)) + body)
        answer = b""
        while chunk := twin.recv(4096):
            answer += chunk
    granted = struct.unpack_from(">q", answer, 12)[0]
    assert granted == session, "the server did not know the session"


def nobody_left(room, path):
    """A lock's queue is empty when every contender has gone."""
    until(lambda: room.client.get_children(f"{room.root}/{path}") == [], f"{path} is empty")


def kill_holder(workers):
    victim = workers[1]
    victim.expect("holding")
    victim.kill()
    for survivor in (workers[0], workers[2]):
        survivor.finish()


# Plain requests


@check
def nodes_and_their_stats(room):
    client, root = room.client, room.root
    assert client.create(root + "/a", b"one") == root + "/a"
    raises(NodeExistsError, client.create, root + "/a")
    raises(NoNodeError, client.create, root + "/no/parent")
    path, stat = client.create(root + "/a/b/c", b"xyz", makepath=True, include_data=True)
    assert (path, stat.version, stat.dataLength) == (root + "/a/b/c", 0, 3)
    data, stat = client.get(root + "/a")
    assert (data, stat.version, stat.cversion, stat.numChildren) == (b"one", 0, 1, 1)
    assert stat.czxid == stat.mzxid < stat.pzxid and stat.ephemeralOwner == 0
    after = client.set(root + "/a", b"two!", version=0)
    assert (after.version, after.dataLength, after.czxid) == (1, 4, stat.czxid)
    assert after.mzxid > stat.mzxid
    raises(BadVersionError, client.set, root + "/a", b"", version=0)
    raises(BadVersionError, client.delete, root + "/a/b/c", version=7)
    raises(NotEmptyError, client.delete, root + "/a")
    client.create(root + "/e", ephemeral=True)
    assert client.get(root + "/e")[1].ephemeralOwner == client.client_id[0]
    raises(NoChildrenForEphemeralsError, client.create, root + "/e/f")
    names = [client.create(root + "/a/s-", sequence=True) for _ in range(3)]
    # Child `b` was created first, so the numbers begin at one.
    assert names == [f"{root}/a/s-{number:010d}" for number in (1, 2, 3)], names
    children, stat = client.get_children(root + "/a", include_data=True)
    assert sorted(children) == ["b"] + [name.rsplit("/")[-1] for name in names]
    assert stat.numChildren == 4
    client.delete(root + "/a", recursive=True)
    assert client.exists(root + "/a") is None
    assert client.sync(root) == root
    inner = room.another()
    inner.chroot = root
    inner.create("/within", b"x")
    assert client.get(root + "/within")[0] == b"x" and "within" in inner.get_children("/")


@check
def a_thousand_requests_in_flight(room):
    client, root = room.client, room.root
    creates = [client.create_async(f"{root}/n-", b"%d" % n, sequence=True) for n in range(1000)]
    names = [create.get(timeout=WAIT_S) for create in creates]
    assert names == [f"{root}/n-{n:010d}" for n in range(1000)], "sent and answered out of order"
    reads = [client.get_async(name) for name in names]
    assert [read.get(timeout=WAIT_S)[0] for read in reads] == [b"%d" % n for n in range(1000)]
    # A read sent behind a write of the same client sees it.
    seen = []
    for number in range(200):
        client.set_async(root, b"%d" % number)
        seen.append((number, client.get_async(root)))
    assert all(int(read.get(timeout=WAIT_S)[0]) == number for number, read in seen)


@check
def watches_fire_once(room):
    client, root = room.client, room.root
    events = queue.Queue()
    assert client.exists(root + "/w", watch=events.put) is None
    client.create(root + "/w")
    event = events.get(timeout=10)
    assert (event.type, event.path) == (EventType.CREATED, root + "/w")
    client.get(root + "/w", watch=events.put)
    client.set(root + "/w", b"1")
    client.set(root + "/w", b"2")
    assert events.get(timeout=10).type == EventType.CHANGED
    client.get_children(root + "/w", watch=events.put)
    client.create(root + "/w/x")
    assert events.get(timeout=10).type == EventType.CHILD
    client.delete(root + "/w/x")
    client.get(root + "/w", watch=events.put)
    client.delete(root + "/w")
    assert events.get(timeout=10).type == EventType.DELETED
    client.sync(root)
    assert events.empty(), "a watch fired twice"


@check
def transactions_are_whole(room):
    client, root = room.client, room.root
    good = client.transaction()
    good.create(root + "/a", b"1")
    good.create(root + "/a/b-", b"2", sequence=True)
    good.set_data(root + "/a", b"3", version=0)
    good.check(root + "/a", version=1)
    results = good.commit()
    assert results[:2] == [root + "/a", root + "/a/b-0000000000"] and results[2].version == 1
    assert client.get(root + "/a")[1].czxid == client.get(results[1])[1].czxid, "one zxid"
    bad = client.transaction()
    bad.create(root + "/gone")
    bad.delete(results[1])
    bad.check(root + "/a", version=9)
    bad.create(root + "/never")
    kinds = [type(result) for result in bad.commit()]
    assert kinds == [RolledBackError, RolledBackError, BadVersionError, RuntimeInconsistency], kinds
    assert client.exists(root + "/gone") is None and client.exists(results[1]) is not None


@check
def transfers_keep_the_sum(room):
    room.make(("source", b"100"), ("target", b"0"), ("moves", b""))
    workers = room.three("transfer")
    kill_holder(workers)
    assert (room.number("source"), room.number("target")) == (100 - 58, 58)
    moves = room.client.get_children(room.root + "/moves")
    assert len(moves) == 58 and sum(name.startswith("victim-") for name in moves) == 8, moves


@check
def access_is_checked(room):
    root = room.root
    owner = room.another(auth_data=[("digest", "ann:secret")])
    stranger = room.another(auth_data=[("digest", "bob:other")])
    owner.create(root + "/own", b"mine", acl=CREATOR_ALL_ACL)
    digest = make_digest_acl("ann", "secret", all=True)
    for client in (stranger, room.client):
        raises(NoAuthError, client.get, root + "/own")
        raises(NoAuthError, client.set, root + "/own", b"x")
        raises(NoAuthError, client.create, root + "/own/x")
        raises(NoAuthError, client.set_acls, root + "/own", [digest])
    acls, stat = owner.get_acls(root + "/own")
    assert acls == [digest] and stat.aversion == 0, acls
    read = make_acl("world", "anyone", read=True)
    assert owner.set_acls(root + "/own", [digest, read], version=0).aversion == 1
    assert stranger.get(root + "/own")[0] == b"mine"
    raises(NoAuthError, stranger.set, root + "/own", b"x")
    raises(BadVersionError, owner.set_acls, root + "/own", [digest], version=0)
    raises(InvalidACLError, room.client.create, root + "/none", acl=CREATOR_ALL_ACL)
    # Identities may be added to a session later, and come again with its next connection.
    room.client.add_auth("digest", "ann:secret")
    room.client.set(root + "/own", b"ours")
    expire(room.client)
    assert room.client.retry(room.client.get, root + "/own")[0] == b"ours"
    room.client.retry(room.client.set, root + "/own", b"again")
    owner.delete(root + "/own")


# Sessions


@check
def a_stopped_process_loses_its_session(room):
    worker = room.worker("ephemeral", "stopped")
    session = int(worker.expect("session")[0])
    assert room.client.get(room.root + "/owned")[1].ephemeralOwner == session
    worker.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: room.client.exists(room.root + "/owned") is None, "the ephemeral is gone")
    assert time.monotonic() - stopped > SESSION_S / 3, "expired far too early"
    worker.process.send_signal(signal.SIGCONT)
    worker.expect("lost")
    again, owned = worker.expect("again")[:2]
    assert int(again) != session and owned == "None"
    worker.finish()


@check
def a_session_outlives_its_process(room):
    worker = room.worker("ephemeral", "killed")
    session, password = worker.expect("session")
    worker.kill()
    heir = room.another(client_id=(int(session), bytes.fromhex(password)))
    assert heir.client_id[0] == int(session)
    # Longer than the timeout: the heir's pings alone keep the node.
    ends = time.monotonic() + SESSION_S * 1.5
    until(lambda: time.monotonic() > ends, "time passes", WAIT_S)
    assert room.client.get(room.root + "/owned")[1].ephemeralOwner == int(session)
    heir.stop()
    assert room.client.exists(room.root + "/owned") is None, "a closed session kept its node"


@check
def a_wrong_password_gets_nothing(room):
    worker = room.worker("ephemeral", "robbed")
    session, _ = worker.expect("session")
    thief = room.another(client_id=(int(session), b"\x01" * 16))
    until(lambda: thief.connected, "the thief is connected")
    assert thief.client_id[0] != int(session), "re-attached with a wrong password"
    assert room.client.exists(room.root + "/owned") is not None


@check
def an_ended_session_is_lost_and_renewed(room):
    client = room.another()
    states = queue.Queue()
    client.add_listener(states.put)
    client.create(room.root + "/owned", ephemeral=True)
    before = client.client_id[0]
    expire(client)
    seen = []
    while not seen or seen[-1] != KazooState.CONNECTED:
        seen.append(states.get(timeout=WAIT_S))
    assert KazooState.LOST in seen, seen
    assert client.client_id[0] != before
    assert room.client.exists(room.root + "/owned") is None


# Recipes


@check
def lock_excludes(room):
    room.make(("count", b"0"))
    workers = room.three("lock")
    kill_holder(workers)
    assert room.number("count") == 12 + 12 + 4, room.number("count")
    nobody_left(room, "lock")


@check
def lock_waiter_gives_up_and_is_cancelled(room):
    other = room.another()
    held, waiting = room.client.Lock(room.root + "/l", "a"), other.Lock(room.root + "/l", "b")
    assert held.acquire() and not waiting.acquire(blocking=False)
    assert waiting.contenders() == ["a"]
    raises(LockTimeout, waiting.acquire, timeout=0.3)
    assert held.contenders() == ["a"], "the one that gave up still queues"
    held.release()
    assert waiting.acquire(timeout=10)
    waiting.release()


@check
def read_and_write_locks_exclude(room):
    room.make(("left", b"0"), ("right", b"0"), ("readers", b""))
    workers = room.three("read-write")
    kill_holder(workers)
    assert room.number("left") == room.number("right") == 8 + 8 + 3
    nobody_left(room, "lock")


@check
def readers_share(room):
    first, second = room.client, room.another()
    with first.ReadLock(room.root + "/rw"), second.ReadLock(room.root + "/rw"):
        assert not first.WriteLock(room.root + "/rw").acquire(blocking=False)
    with second.WriteLock(room.root + "/rw"):
        assert not first.ReadLock(room.root + "/rw").acquire(blocking=False)


@check
def semaphore_counts(room):
    room.make(("inside", b""))
    workers = room.three("semaphore")
    kill_holder(workers)
    inside = [int(line[1]) for worker in workers for line in worker.said if line[0] == "inside"]
    assert len(inside) == 8 + 8 + 3 and max(inside) == 2, inside
    nobody_left(room, "leases")


@check
def election_has_one_leader(room):
    workers = {}
    election = room.client.Election(room.root + "/election")
    for name in ("first", "second", "third"):
        workers[name] = room.worker("election", name)
        until(lambda: name in election.contenders(), f"{name} stands")
    assert election.contenders() == ["first", "second", "third"]
    workers["first"].expect("leading")
    assert workers["second"].count("leading") == 0
    workers["first"].kill()
    workers["second"].expect("leading")
    assert workers["third"].count("leading") == 0
    workers["second"].tell()
    workers["second"].finish()
    workers["third"].expect("leading")
    workers["third"].tell()
    workers["third"].finish()
    assert election.contenders() == []


@check
def barrier_holds_all_back(room):
    barrier = room.client.Barrier(room.root + "/barrier")
    barrier.create()
    workers = room.three("barrier")
    for worker in workers:
        worker.expect("waiting")
    assert barrier.wait(timeout=0.3) is False
    workers[1].kill()
    assert not any(worker.count("passed") for worker in workers)
    assert barrier.remove()
    for worker in (workers[0], workers[2]):
        worker.expect("passed")
        worker.finish()


@check
def double_barrier_gathers_and_dismisses(room):
    room.make(("arrived", b""), ("left", b""))
    workers = [room.worker("double-barrier", name) for name in ("first", "third")]
    until(lambda: len(room.client.get_children(room.root + "/arrived")) == 2, "two arrived")
    assert not any(worker.count("entered") for worker in workers), "entered by two of three"
    victim = room.worker("double-barrier", "victim")
    for worker in workers + [victim]:
        worker.expect("entered")
    victim.expect("holding")
    victim.kill()
    for worker in workers:
        worker.tell()
    for worker in workers:
        left, still_inside = worker.expect("left")[:2]
        assert (left, still_inside) == ("2", "None"), "left before everyone was out"
        worker.finish()


@check
def counter_loses_nothing(room):
    workers = room.three("counter")
    kill_holder(workers)
    value = room.client.Counter(room.root + "/counter").value
    assert value == 30 + 30 + 10, value


def party_knows_its_members(room, kind, watcher):
    members = room.three("party", kind)
    for member in members:
        member.expect("joined")
    assert len(watcher) == 3
    if kind == "Party":
        assert sorted(watcher) == ["first", "third", "victim"]
    else:
        assert sorted(name.split("-")[-1] for name in watcher) == ["first", "third", "victim"]
    members[1].kill()
    until(lambda: len(watcher) == 2, "the dead one is gone")
    watcher.join()
    assert len(watcher) == 3
    watcher.leave()
    assert len(watcher) == 2


@check
def party_lists_the_living(room):
    party_knows_its_members(room, "Party", room.client.Party(room.root + "/party", "me"))


@check
def shallow_party_lists_the_living(room):
    party = room.client.ShallowParty(room.root + "/party", "me")
    party_knows_its_members(room, "ShallowParty", party)


def items_of(producers, total):
    return sorted(f"{name}-{number}" for name in producers for number in range(total))


def feed_until_held(line, victim):
    """Adds items until the victim got its share, which the others may have left none of."""
    more = []

    def held():
        if victim.count("holding"):
            return True
        more.append(f"more-{len(more)}")
        line.put(more[-1].encode())
        return False

    until(held, "the victim holds")
    return more


def taken(workers):
    return sorted(line[1] for worker in workers for line in worker.said if line[0] == "took")


@check
def queue_gives_each_item_once(room):
    consumers = room.three("consume")
    producers = [room.worker("produce", name, "Queue", 25) for name in ("p1", "p2", "p3")]
    for producer in producers:
        producer.finish()
    more = feed_until_held(room.client.Queue(room.root + "/queue"), consumers[1])
    room.make(("filled", b""))
    kill_holder(consumers)
    assert taken(consumers) == sorted(items_of(("p1", "p2", "p3"), 25) + more), "lost or given twice"


@check
def queue_heeds_priority(room):
    line = room.client.Queue(room.root + "/q")
    for item, priority in ((b"c", 200), (b"a", 5), (b"d", 200), (b"b", 100)):
        line.put(item, priority)
    assert [line.get() for _ in range(5)] == [b"a", b"b", b"c", b"d", None]


@check
def locking_queue_gives_back_what_a_dead_one_took(room):
    consumers = room.three("consume-locked")
    producers = [room.worker("produce", name, "LockingQueue", 12) for name in ("p1", "p2", "p3")]
    for producer in producers:
        producer.finish()
    more = feed_until_held(room.client.LockingQueue(room.root + "/queue"), consumers[1])
    room.make(("filled", b""))
    kill_holder(consumers)
    dropped = [line[1] for line in consumers[1].said if line[0] == "dropped"]
    assert len(dropped) == 1 and dropped[0] in taken([consumers[0], consumers[2]])
    assert taken(consumers) == sorted(items_of(("p1", "p2", "p3"), 12) + more), "lost or given twice"


@check
def partitioner_shares_all_and_shares_again(room):
    room.client.ensure_path(room.root + "/share")
    workers = room.three("partition")
    everything = sorted(f"item-{number}" for number in range(12))

    def shares(of):
        """What each holds now; a share is held from `owns` to the next `released`."""
        last = [worker.said[-1] if worker.said else [""] for worker in of]
        return [line[1:] for line in last if line[0] == "owns"]

    def shared(of):
        held = shares(of)
        return len(held) == len(of) and sorted(sum(held, [])) == everything

    until(lambda: shared(workers), "three hold all, none twice")
    assert all(len(share) == 4 for share in shares(workers)), shares(workers)
    workers[1].kill()
    survivors = [workers[0], workers[2]]
    until(lambda: shared(survivors), "two hold all, none twice")
    assert all(len(share) == 6 for share in shares(survivors)), shares(survivors)


@check
def lease_outlives_its_holder_for_its_time(room):
    first = room.worker("lease", "first")
    assert first.expect("lease") == ["True"]
    taken_at = time.monotonic()
    first.kill()
    second = room.worker("lease", "second")
    assert second.expect("lease") == ["False"], "two hold one lease"
    second.finish()
    until(lambda: time.monotonic() - taken_at > 4.2, "the lease has run out")
    third = room.worker("lease", "third")
    assert third.expect("lease") == ["True"], "a lease that ran out is still held"


@check
def leases_are_as_many_as_said(room):
    workers = room.three("leases")
    held = sorted(worker.expect("lease")[0] for worker in workers)
    assert held == ["False", "True", "True"], held


# Watchers


@check
def data_watch_ends_at_the_last_value(room):
    path = room.root + "/data"
    seen = []
    client = room.another()

    @client.DataWatch(path)
    def watch(data, stat, event):
        seen.append(None if stat is None else (stat.czxid, stat.version, data))

    assert seen == [None]
    room.client.create(path, b"0")
    for number in range(1, 101):
        room.client.set(path, b"%d" % number)
    until(lambda: seen[-1] and seen[-1][2] == b"100", "the last write is seen")
    versions = [entry[1] for entry in seen[1:]]
    assert versions == sorted(set(versions)), versions
    room.client.delete(path)
    until(lambda: seen[-1] is None, "the delete is seen")
    expire(client)
    until(lambda: client.state == KazooState.CONNECTED and client.connected, "a new session")
    room.client.create(path, b"reborn")
    until(lambda: seen[-1] and seen[-1][2] == b"reborn", "seen with the new session")


@check
def children_watch_ends_at_the_last_list(room):
    seen = []
    client = room.another()
    client.ChildrenWatch(room.root, lambda children: seen.append(sorted(children)))
    dice = random.Random(7)
    for _ in range(150):
        path = f"{room.root}/c{dice.randrange(12)}"
        if room.client.exists(path):
            room.client.delete(path)
        else:
            room.client.create(path)
    last = sorted(room.client.get_children(room.root))
    until(lambda: seen[-1] == last, "the last list is seen")
    expire(client)
    room.client.create(room.root + "/after")
    until(lambda: seen[-1] == sorted(last + ["after"]), "seen with the new session")


@check
def patient_children_watch_waits_for_quiet(room):
    watch = PatientChildrenWatch(room.client, room.root, time_boundary=0.5).start()
    for number in range(5):
        room.client.create(f"{room.root}/c{number}")
    children, changed = watch.get(timeout=20)
    assert sorted(children) == [f"c{number}" for number in range(5)], children
    room.client.create(room.root + "/late")
    assert changed.wait(10)


@check
def tree_cache_equals_the_tree(room):
    client, top = room.another(), room.root + "/tree"
    room.client.create(top)
    cache = TreeCache(client, top)
    faults = []
    cache.listen_fault(faults.append)
    cache.start()

    def walk(path):
        data, children = room.client.get(path)[0], sorted(room.client.get_children(path))
        return {path: (data, children)} | {
            key: value for child in children for key, value in walk(f"{path}/{child}").items()
        }

    def mirrored(path=top):
        node = cache.get_data(path)
        if node is None:
            return {}
        children = sorted(cache.get_children(path, []))
        whole = {path: (node.data, children)}
        for child in children:
            whole.update(mirrored(f"{path}/{child}"))
        return whole

    for seed in (1, 2):
        growers = [room.worker("grow-tree", f"g{n}", seed * 10 + n) for n in range(3)]
        for grower in growers:
            grower.process.wait(WAIT_S)
        real = walk(top)
        assert len(real) > 10, "the growers did little"
        until(lambda: mirrored() == real, "the cache mirrors the tree")
        if seed == 1:
            expire(client)
    assert not faults, faults
    cache.close()


def run_one(function):
    started = time.monotonic()
    room = None
    failure = None
    try:
        room = Room(function.__name__)
        function(room)
    except Exception:
        failure = traceback.format_exc()
    finally:
        if room is not None:
            try:
                room.close()
            except Exception:
                failure = (failure or "") + traceback.format_exc()
    spent = time.monotonic() - started
    print(f"{'FAIL' if failure else 'ok  '} {function.__name__} ({spent:.1f} s)", flush=True)
    if failure:
        print(failure, flush=True)
    return failure is None


def main():
    unknown = set(sys.argv[1:]) - {function.__name__ for function in CHECKS}
    if unknown:
        sys.exit(f"no such check: {', '.join(sorted(unknown))}")
    chosen = [function for function in CHECKS if function.__name__ in sys.argv[1:]] or CHECKS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(run_one, chosen))
    client = connect()
    client.delete(BASE, recursive=True)
    client.stop()
    client.close()
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()

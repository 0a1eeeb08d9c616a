"""One competing process. `checks.py` starts several of these and kills some.

Usage: worker.py KIND ROOT NAME [ARG...]. A worker says what it has done by a line on
stdout. A worker named `victim` stops at its most awkward moment, says `holding`, and
waits there to be killed.
"""

import datetime
import os
import random
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.recipe.lease import MultiNonBlockingLease, NonBlockingLease
from kazoo.recipe.partitioner import SetPartitioner

SESSION_S = 4.0
WAIT_S = 40


def say(*words):
    print(*words, flush=True)


def connect(**options):
    client = KazooClient(hosts=os.environ["ZK_CONNECT"], timeout=SESSION_S, **options)
    client.start(timeout=15)
    return client


def hold():
    """The victim's end: nothing after this line runs."""
    say("holding")
    time.sleep(3600)


def add_one(client, path):
    """A read and a write that lose counts unless something excludes the others."""
    count = int(client.get(path)[0])
    time.sleep(0.002)
    client.set(path, b"%d" % (count + 1))


def alone(client, root):
    """Fails with NodeExistsError when a second process is in the same section."""
    client.create(root + "/inside", ephemeral=True)


def lock(client, root, name):
    lock = client.Lock(root + "/lock", name)
    for turn in range(12):
        with lock:
            alone(client, root)
            add_one(client, root + "/count")
            if name == "victim" and turn == 3:
                hold()
            client.delete(root + "/inside")
        say("did")


def read_write(client, root, name):
    for turn in range(8):
        with client.WriteLock(root + "/lock", name):
            alone(client, root)
            assert client.get_children(root + "/readers") == [], "a reader beside a writer"
            add_one(client, root + "/left")
            add_one(client, root + "/right")
            if name == "victim" and turn == 2:
                hold()
            client.delete(root + "/inside")
        say("did")
        with client.ReadLock(root + "/lock", name):
            client.create(root + "/readers/" + name, ephemeral=True)
            assert client.exists(root + "/inside") is None, "a writer beside a reader"
            left, right = client.get(root + "/left")[0], client.get(root + "/right")[0]
            assert left == right, f"half a write seen: {left} {right}"
            client.delete(root + "/readers/" + name)


def semaphore(client, root, name):
    leases = client.Semaphore(root + "/leases", name, max_leases=2)
    for turn in range(8):
        with leases:
            mine = client.create(root + "/inside/" + name, ephemeral=True)
            time.sleep(0.02)
            inside = len(client.get_children(root + "/inside"))
            assert inside <= 2, f"{inside} holders of two leases"
            say("inside", inside)
            if name == "victim" and turn == 2:
                hold()
            client.delete(mine)
    say("finished")


def election(client, root, name):
    def lead():
        alone(client, root)
        say("leading")
        sys.stdin.readline()
        client.delete(root + "/inside")

    say("ready")
    client.Election(root + "/election", name).run(lead)
    say("resigned")


def barrier(client, root, name):
    say("waiting")
    passed = client.Barrier(root + "/barrier").wait(WAIT_S)
    assert passed, "the barrier was not lifted"
    assert client.exists(root + "/barrier") is None, "passed a standing barrier"
    say("passed")


def double_barrier(client, root, name):
    both = client.DoubleBarrier(root + "/double", 3, name)
    client.create(root + "/arrived/" + name)
    both.enter()
    arrived = client.get_children(root + "/arrived")
    assert len(arrived) == 3, f"entered with {arrived}"
    say("entered")
    if name == "victim":
        hold()
    sys.stdin.readline()
    client.create(root + "/left/" + name)
    both.leave()
    say("left", len(client.get_children(root + "/left")), client.exists(root + "/double/victim"))


def counter(client, root, name):
    count = client.Counter(root + "/counter", default=0)
    for turn in range(30):
        count += 1
        say("did")
        if name == "victim" and turn == 9:
            hold()


def party(client, root, name, kind):
    getattr(client, kind)(root + "/party", name).join()
    say("joined")
    hold()


def produce(client, root, name, kind, total):
    queue = getattr(client, kind)(root + "/queue")
    for number in range(int(total)):
        queue.put(f"{name}-{number}".encode(), priority=50 + number % 3)
    say("finished")


def consume(client, root, name):
    """Takes until told that all is there and then until the queue is empty."""
    queue = client.Queue(root + "/queue")
    taken = 0
    while True:
        last = client.exists(root + "/filled") is not None
        item = queue.get()
        if item is not None:
            say("took", item.decode())
            taken += 1
            if name == "victim" and taken == 4:
                hold()
        elif last:
            break
    say("finished")


def consume_locked(client, root, name):
    queue = client.LockingQueue(root + "/queue")
    taken = 0
    while True:
        item = queue.get(timeout=2)
        if item is None:
            if client.exists(root + "/filled") and len(queue) == 0:
                break
            continue
        taken += 1
        if name == "victim" and taken == 4:
            say("dropped", item.decode())
            hold()
        assert queue.holds_lock()
        assert queue.consume(), "an item taken was not ours to consume"
        say("took", item.decode())
    say("finished")


def partition(client, root, name):
    """Reports each agreed share; the last one reported is the one held."""
    items = [f"item-{number}" for number in range(12)]
    share = SetPartitioner(client, root + "/share", items, identifier=name, time_boundary=0.5)
    while not share.failed:
        if share.release:
            say("released")
            share.release_set()
        elif share.acquired:
            say("owns", *sorted(share))
            while share.acquired:
                time.sleep(0.02)
        elif share.allocating:
            share.wait_for_acquire(1)
    say("failed")


def lease(client, root, name):
    held = NonBlockingLease(client, root + "/lease", datetime.timedelta(seconds=4), identifier=name)
    say("lease", bool(held))
    if held:
        hold()


def leases(client, root, name):
    held = MultiNonBlockingLease(
        client, 2, root + "/leases", datetime.timedelta(seconds=60), identifier=name
    )
    say("lease", bool(held))
    hold()


def transfer(client, root, name):
    """Moves one coin from purse to purse, both in one transaction, until 25 moves were done."""
    moved = 0
    while moved < 25:
        source, source_stat = client.get(root + "/source")
        target, target_stat = client.get(root + "/target")
        both = client.transaction()
        both.check(root, 0)
        both.set_data(root + "/source", b"%d" % (int(source) - 1), version=source_stat.version)
        both.set_data(root + "/target", b"%d" % (int(target) + 1), version=target_stat.version)
        both.create(root + "/moves/" + name + "-", sequence=True)
        results = both.commit()
        if not any(isinstance(result, Exception) for result in results):
            moved += 1
            say("did")
            if name == "victim" and moved == 8:
                hold()


def ephemeral(client, root, name):
    """Owns a node and tells of every change of its connection."""
    states = []
    changed = threading.Condition()

    def listen(state):
        with changed:
            states.append(str(state))
            changed.notify()

    client.add_listener(listen)
    client.create(root + "/owned", ephemeral=True)
    session, password = client.client_id
    say("session", session, password.hex())
    with changed:
        assert changed.wait_for(lambda: "LOST" in states, WAIT_S), states
    say("lost")
    with changed:
        assert changed.wait_for(lambda: states[-1] == "CONNECTED", WAIT_S), states
    say("again", client.client_id[0], client.exists(root + "/owned"))


def grow_tree(client, root, name, seed):
    """Random creates, writes and deletes below ROOT/tree, the same for one seed."""
    dice = random.Random(int(seed))
    for _ in range(120):
        path = root + "/tree" + "".join(
            f"/{dice.choice('abc')}" for _ in range(dice.randint(1, 4))
        )
        try:
            action = dice.random()
            if action < 0.5:
                client.ensure_path(path)
            elif action < 0.8:
                client.set(path, b"%d" % dice.randrange(1000))
            else:
                client.delete(path, recursive=True)
        except NoNodeError:
            pass
    say("finished")


KINDS = {
    work.__name__.replace("_", "-"): work
    for work in (
        lock, read_write, semaphore, election, barrier, double_barrier, counter, party, produce,
        consume, consume_locked, partition, lease, leases, transfer, ephemeral, grow_tree,
    )
}

if __name__ == "__main__":
    kind, root, name, *rest = sys.argv[1:]
    client = connect()
    KINDS[kind](client, root, name, *rest)
    client.stop()
    client.close()

"""Programs that go on while servers are killed, paused, wiped and restarted.

Workers take a lock, count under it, put numbers into a queue and stay members of a party. After each
disturbance and at the end: no two held the lock at once, no acknowledged count or number is missing,
nothing was done twice, and no session was lost by a client that ran all the time.
"""

import logging
import os
import socket
import sys
import threading
import time
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

logging.disable(logging.CRITICAL)

HOSTS = os.environ["ZK_CONNECT"]
ROOT = "/failover-" + uuid.uuid4().hex[:8]
WORKERS = 3
SESSION_TIMEOUT = 8
# Rounds of work that have to be done by each worker after a disturbance.
ROUNDS = 3
PATIENCE = 90

LOST = (KazooException, KazooTimeoutError, OSError)


class Control:
    """The harness's line protocol."""

    def __init__(self):
        host, port = os.environ["ZK_CONTROL"].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.lines = self.socket.makefile("r")

    def say(self, line):
        self.socket.sendall((line + "\n").encode())
        answer = self.lines.readline().strip()
        if not answer.startswith("ok"):
            raise AssertionError(f"{line}: {answer}")
        return answer[2:].strip()


class Guarded:
    """What the lock protects, outside of the ensemble: it sees who comes, and when."""

    def __init__(self):
        self.mutex = threading.Lock()
        self.highest = -1
        self.stale = 0

    def use(self, token):
        # A holder whose session is gone may come late; its token tells.
        with self.mutex:
            if token < self.highest:
                self.stale += 1
                return False
            self.highest = token
            return True


class Worker(threading.Thread):
    def __init__(self, number, guarded):
        super().__init__(daemon=True)
        self.number = number
        self.guarded = guarded
        self.lost_sessions = 0
        self.rounds = 0
        self.counted = 0
        self.maybe_counted = 0
        self.queued = set()
        self.maybe_queued = set()
        self.ending = False
        self.client = KazooClient(HOSTS, timeout=SESSION_TIMEOUT)
        self.client.add_listener(self.listen)

    def listen(self, state):
        if state == KazooState.LOST and not self.ending:
            self.lost_sessions += 1

    def run(self):
        while not self.ending:
            try:
                self.work()
            except LOST:
                time.sleep(0.05)

    def work(self):
        lock = self.client.Lock(ROOT + "/lock", str(self.number))
        if not lock.acquire(timeout=20):
            return
        try:
            token = int(lock.node.rsplit("__lock__", 1)[1])
            if not self.guarded.use(token):
                return
            self.count()
        finally:
            lock.release()
        self.put()
        self.rounds += 1

    def count(self):
        value, stat = self.client.get(ROOT + "/count")
        self.maybe_counted += 1
        # The version makes sure that a holder who is late changes nothing.
        self.client.set(ROOT + "/count", b"%d" % (int(value) + 1), stat.version)
        self.maybe_counted -= 1
        self.counted += 1

    def put(self):
        item = f"{self.number}-{self.rounds}-{uuid.uuid4().hex[:6]}"
        self.maybe_queued.add(item)
        self.client.create(ROOT + "/queue/entry-", item.encode(), sequence=True)
        self.maybe_queued.discard(item)
        self.queued.add(item)


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("not in time: " + what)
        time.sleep(0.05)


class Checks:
    def __init__(self):
        self.passed = self.failed = 0
        self.control = Control()
        self.guarded = Guarded()
        self.workers = [Worker(number, self.guarded) for number in range(WORKERS)]

    def check(self, name, body):
        try:
            body()
            self.passed += 1
            print(f"ok {name}", flush=True)
        except Exception as error:  # a failed check must not end the others
            self.failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)

    def everybody_works_on(self):
        goals = [worker.rounds + ROUNDS for worker in self.workers]
        wait_until(
            "every worker does its rounds",
            lambda: all(w.rounds >= goal for w, goal in zip(self.workers, goals)),
        )

    def roll(self):
        self.control.say("roll")
        self.everybody_works_on()

    def kill_leader(self):
        killed = self.control.say("kill leader").split()[0]
        self.everybody_works_on()
        self.control.say(f"start {killed}")
        self.everybody_works_on()

    def pause_leader(self):
        paused = self.control.say("pause leader").split()[0]
        # Longer than the time-out of the sessions, which work goes on under.
        until = time.monotonic() + SESSION_TIMEOUT + 3
        while time.monotonic() < until:
            self.everybody_works_on()
        self.control.say(f"resume {paused}")
        self.everybody_works_on()

    def wipe_one(self):
        leader = self.control.say("leader").split()[0]
        victim = next(i for i in self.control.say("ids").split() if i != leader)
        self.control.say(f"wipe {victim}")
        self.everybody_works_on()
        self.control.say(f"start {victim}")
        self.everybody_works_on()

    def no_session_lost(self):
        lost = [worker.lost_sessions for worker in self.workers]
        assert lost == [0] * WORKERS, f"sessions lost by clients that ran: {lost}"

    def no_second_holder(self):
        assert self.guarded.stale == 0, f"{self.guarded.stale} late holders"

    def counts_agree(self):
        # What was acknowledged is there; what was not may be.
        value = int(self.reader.get(ROOT + "/count")[0])
        counted = sum(worker.counted for worker in self.workers)
        maybe = sum(worker.maybe_counted for worker in self.workers)
        assert counted > 0
        assert counted <= value <= counted + maybe, (counted, value, maybe)

    def queue_is_whole(self):
        names = sorted(self.reader.get_children(ROOT + "/queue"))
        items = [self.reader.get(f"{ROOT}/queue/{name}")[0].decode() for name in names]
        assert len(items) == len(set(items)), "an entry twice"
        queued = set().union(*(worker.queued for worker in self.workers))
        maybe = set().union(*(worker.maybe_queued for worker in self.workers))
        assert queued, "nothing was queued"
        assert queued <= set(items), f"missing: {sorted(queued - set(items))[:5]}"
        assert set(items) <= queued | maybe, "an entry that nobody made"
        for worker in self.workers:
            # Entries of one worker stand in the order in which it made them.
            own = [int(i.split("-")[1]) for i in items if i.startswith(f"{worker.number}-")]
            assert own == sorted(own), f"worker {worker.number} out of order"

    def members_are_there(self):
        members = set(self.reader.get_children(ROOT + "/members"))
        assert members == {str(w.number) for w in self.workers}, members

    def members_go(self):
        wait_until(
            "ephemerals go with their sessions",
            lambda: not self.reader.get_children(ROOT + "/members"),
        )

    def run(self, times):
        self.reader = KazooClient(HOSTS, timeout=SESSION_TIMEOUT)
        self.reader.start(PATIENCE)
        for name in ("", "/queue", "/members"):
            self.reader.ensure_path(ROOT + name)
        self.reader.create(ROOT + "/count", b"0")
        for worker in self.workers:
            worker.client.start(PATIENCE)
            worker.client.create(f"{ROOT}/members/{worker.number}", b"", ephemeral=True)
            worker.start()
        self.check("everybody works", self.everybody_works_on)
        for _ in range(times):
            self.check("the leader is killed and comes back", self.kill_leader)
            self.check("the leader is paused for longer than a session", self.pause_leader)
            self.check("all servers are restarted one by one", self.roll)
            self.check("a server loses its data and rejoins", self.wipe_one)
            self.check("the leader is stopped and comes back", self.stop_leader)
        for worker in self.workers:
            worker.ending = True
        for worker in self.workers:
            worker.join(PATIENCE)
        self.control.say("wait")
        self.reader.sync(ROOT)
        self.check("no session of a client that ran was lost", self.no_session_lost)
        self.check("nobody held the lock beside another", self.no_second_holder)
        self.check("every acknowledged count is there, and none twice", self.counts_agree)
        self.check("every queued entry is there once and in order", self.queue_is_whole)
        self.check("the members are still there", self.members_are_there)
        for worker in self.workers:
            worker.client.stop()
        self.check("the members go with their sessions", self.members_go)
        self.reader.delete(ROOT, recursive=True)
        self.reader.stop()
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0

    def stop_leader(self):
        stopped = self.control.say("terminate leader").split()[0]
        self.everybody_works_on()
        self.control.say(f"start {stopped}")
        self.everybody_works_on()


if __name__ == "__main__":
    sys.exit(Checks().run(int(sys.argv[1])))

"""Starts and stops the servers that are measured, and runs zk-load against them.

Both servers get the same zoo.cfg. Apache ZooKeeper runs with the heap that its own zkServer.sh
gives it; it logs nothing here, because no logger is on its class path.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# ZK_SERVER_HEAP of upstream's bin/zkEnv.sh.
ZOOKEEPER_HEAP = "-Xmx1000m"
START_LIMIT_S = 120
STOP_LIMIT_S = 60
ZOO_CFG = """\
tickTime=2000
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
"""


class Failed(Exception):
    """A server or a run that did not do what it should; the message is for the user."""


def build():
    """Builds the release binaries and returns their directory."""
    command = ["cargo", "build", "--release", "--quiet", "-p", "meerkat", "--bins"]
    if subprocess.run(command, cwd=REPOSITORY).returncode != 0:
        raise Failed("the build failed")
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"],
        cwd=REPOSITORY, capture_output=True, check=True)
    return Path(json.loads(metadata.stdout)["target_directory"]) / "release"


def zookeeper_command():
    script = REPOSITORY / "compat-tests/zookeeper/classpath"
    found = subprocess.run([script], stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        raise Failed("Apache ZooKeeper could not be fetched with Maven")
    class_path = Path(found.stdout.strip()).read_text().strip()
    return ["java", ZOOKEEPER_HEAP, "-cp", class_path,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A running server with a data directory of its own. Use it with `with`."""

    def __init__(self, name, command, port=None, directory=None):
        self.name = name
        self.command = command
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=directory))
        self.process = None
        self.write_config()

    def write_config(self, more=""):
        config = ZOO_CFG.format(data=self.directory / "data", port=self.port)
        (self.directory / "zoo.cfg").write_text(config + more)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pids(self):
        return str(self.process.pid)

    def start(self):
        """Starts it and returns the seconds that passed until it served."""
        begun = self.launch()
        return self.wait_serving(begun) - begun

    def launch(self):
        """Starts it, does not wait, and returns when that was."""
        with open(self.directory / "log", "ab") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(
                [*self.command, self.directory / "zoo.cfg"],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return begun

    def wait_serving(self, begun):
        while True:
            # A server names its mode once it serves.
            if b"Mode:" in self.word(b"srvr"):
                return time.monotonic()
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended at its start:\n{self.log()}")
            if time.monotonic() - begun > START_LIMIT_S:
                raise Failed(f"{self.name} does not serve after {START_LIMIT_S} s:\n{self.log()}")
            time.sleep(0.01)

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not stop within {STOP_LIMIT_S} s") from None
        finally:
            self.process = None

    def word(self, word):
        """Sends a four-letter word; no answer is an empty one."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(word)
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
                return answer
        except OSError:
            return b""

    def resident_mb(self):
        """Resident memory now and at its highest, in MB (10^6 bytes)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = {line.split(":")[0]: int(line.split()[1])
               for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM"))}
        return kib["VmRSS"] * 1024 / 1e6, kib["VmHWM"] * 1024 / 1e6

    def cpu_seconds(self):
        """Processor time of all its threads since its start."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def node_count(self):
        for line in self.word(b"srvr").decode().splitlines():
            if line.startswith("Node count:"):
                return int(line.split(":")[1])
        raise Failed(f"{self.name} does not tell its node count")

    def mode(self):
        """leader, follower, standalone, ..., or nothing when it does not serve."""
        for line in self.word(b"srvr").decode(errors="replace").splitlines():
            if line.startswith("Mode:"):
                return line.split(":")[1].strip()
        return ""

    def log(self):
        return (self.directory / "log").read_text(errors="replace")[-4000:]


class Ensemble:
    """Servers that act as one, each with a data directory of its own on the same disk."""

    def __init__(self, name, command, directory=None, count=3):
        self.name = name
        self.servers = [Server(name, command, directory=directory) for _ in range(count)]
        ports = [(free_port(), free_port()) for _ in self.servers]
        members = "".join(
            f"server.{number}=127.0.0.1:{peer}:{election}\n"
            for number, (peer, election) in enumerate(ports, 1))
        for number, server in enumerate(self.servers, 1):
            server.write_config(f"initLimit=10\nsyncLimit=5\n{members}")
            (server.directory / "data").mkdir()
            (server.directory / "data/myid").write_text(f"{number}\n")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        # All of them, whatever happens to one.
        for server in self.servers:
            server.__exit__()

    @property
    def address(self):
        """Followers first: a single client is one of a follower, as most clients are."""
        leader = self.leader()
        others = [server for server in self.servers if server is not leader]
        return ",".join(server.address for server in [*others, leader])

    @property
    def pids(self):
        return ",".join(server.pids for server in self.servers)

    def start(self):
        """Starts those that do not run, and waits until all serve."""
        started = [(server, server.launch()) for server in self.servers if server.process is None]
        for server, begun in started:
            server.wait_serving(begun)

    def wait_serving(self):
        """Waits until all serve: one that was away has to come back first."""
        for server in self.servers:
            server.wait_serving(time.monotonic())
        self.leader()

    def stop(self, how=signal.SIGTERM):
        for server in self.servers:
            server.stop(how)

    def leader(self):
        """The server that leads; waits until one does."""
        begun = time.monotonic()
        while True:
            leaders = [server for server in self.servers if server.mode() == "leader"]
            if len(leaders) == 1:
                return leaders[0]
            if time.monotonic() - begun > START_LIMIT_S:
                raise Failed(f"{self.name} has no leader after {START_LIMIT_S} s:\n{self.log()}")
            time.sleep(0.01)

    def log(self):
        return "\n".join(server.log() for server in self.servers)


def load(binaries, server, arguments):
    """Runs zk-load and returns its report. A mistake of the server ends the whole run."""
    return Load(binaries, server, [*arguments, "--server-pid", server.pids]).report()


class Load:
    """A run of zk-load that goes on while its caller does something else."""

    def __init__(self, binaries, server, arguments):
        self.server = server
        self.command = [binaries / "zk-load", *map(str, arguments), "--server", server.address]
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def report(self):
        """Waits for its end. A mistake of the server is a failure."""
        out, err = self.process.communicate()
        if self.process.returncode != 0:
            words = " ".join(map(str, self.command[1:]))
            raise Failed(f"zk-load {words}: exit code {self.process.returncode}\n{err}{out}"
                         f"\nlog of {self.server.name}:\n{self.server.log()}")
        return json.loads(out)


def machine():
    """One line about the machine."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "unknown processor")
    kernel = os.uname()
    memory_kib = int(open("/proc/meminfo").readline().split()[1])
    return (f"{os.cpu_count()} x {cpu}, {memory_kib / 2**20:.0f} GiB, "
            f"{kernel.sysname} {kernel.release}")


class ProcessorUse:
    """What processes that are not ours have used: the noise of a measurement.

    Ours are this process and its children that have ended, so ask when all servers are stopped.
    """

    def __init__(self):
        self.begun = self.read()

    @staticmethod
    def read():
        # user nice system idle iowait irq softirq steal, in hundredths of a second
        ticks = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        return time.monotonic(), busy, sum(own[:4])

    def of_others(self):
        """The share of all processors, from 0 to 1."""
        seconds, busy, own = (now - then for now, then in zip(self.read(), self.begun))
        return max(0.0, busy - own) / (seconds * os.cpu_count())


def fsyncs_per_second(directory=None, seconds=1.0):
    """What the disk below the data directories can do: 4 KiB appended and fsynced, one by one."""
    with tempfile.TemporaryFile(dir=directory) as file:
        begun = time.monotonic()
        count = 0
        while time.monotonic() - begun < seconds:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            count += 1
        return count / (time.monotonic() - begun)


def write_block(name, text):
    """Replaces the block of benches/README.md that stands between the marks of `name`."""
    path = REPOSITORY / "benches/README.md"
    readme = path.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if begin not in readme or end not in readme:
        raise Failed(f"{path.name} has no block {name}")
    before, rest = readme.split(begin, 1)
    after = rest.split(end, 1)[1]
    path.write_text(f"{before}{begin}{text}{end}{after}")

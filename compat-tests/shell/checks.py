"""Upstream's shell and ours, line by line.

Both run the same scripts, each against a fresh server of its own, upstream's against a ZooKeeper, and
say the same on stdout and
stderr, show the same prompts and end with the same codes, except where `differences` allows it. What
ours has beyond upstream is compared with what `own.script` expects, and what only a terminal or a
broken connection shows is checked in the functions at the end.

Ends with `N passed, N failed`.
"""

import configparser
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
# A shell that says nothing for so long hangs.
PATIENCE = 30
PROMPT = re.compile(r"\[zk: (\S+)\((\w+)\) (\d+)\] ")
# Two prints of upstream's; a prompt may stand between them.
EVENT = re.compile(r"\n(?:WATCHER::|(WatchedEvent .*))\n")
CONNECTED = "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n"
JAVA_DATE = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ \d{4}"
# What the JVM's libraries say on stderr, none of it ZooKeeper's.
JAVA_NOISE = re.compile(
    r"^(SLF4J\(W\): .*|WARNING: Unable to create a system terminal.*|" r".* org\.jline\.utils\.Log logr)\n",
    re.MULTILINE,
)


# ---- running a shell ---------------------------------------------------------------------------


class Stream:
    """What a process has written to a pipe."""

    def __init__(self, pipe):
        self.file = pipe.fileno()
        os.set_blocking(self.file, False)
        self.text = ""
        self.ended = False

    def read(self):
        """Takes what is there."""
        try:
            while not self.ended:
                chunk = os.read(self.file, 65536)
                self.text += chunk.decode(errors="replace")
                self.ended = not chunk
        except BlockingIOError:
            pass

    def take(self):
        text, self.text = self.text, ""
        return text


class Session:
    """An interactive shell behind pipes."""

    # The one that has not ended yet.
    running = None

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        Session.running = self
        self.out = Stream(self.process.stdout)
        self.err = Stream(self.process.stderr)
        self.wait_for_prompt(0)

    def wait_for(self, is_there):
        deadline = time.monotonic() + PATIENCE
        streams = (self.out, self.err)
        while True:
            # A shell writes to stderr before it shows the next prompt, so this order misses nothing.
            self.out.read()
            self.err.read()
            if is_there(self.out.text) or self.out.ended:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"nothing more after {self.out.text[-500:]!r}")
            select.select([stream.file for stream in streams if not stream.ended], [], [], left)

    def wait_for_prompt(self, number):
        self.wait_for(lambda text: any(int(found[3]) == number for found in PROMPT.finditer(text)))

    def wait_for_text(self, pattern):
        """Takes stdout to the end of a pattern."""
        self.wait_for(lambda text: re.search(pattern, text))
        found = re.search(pattern, self.out.text)
        assert found, f"no {pattern!r} in {self.out.text!r}"
        text, self.out.text = self.out.text[: found.end()], self.out.text[found.end() :]
        return text

    def type(self, line, number):
        """Types a line and waits for the prompt behind it, or for the end."""
        try:
            self.process.stdin.write((line + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return
        self.wait_for_prompt(number)

    def end(self):
        self.process.stdin.close()
        self.wait_for(lambda _: False)
        self.err.read()
        Session.running = None
        return self.process.wait(PATIENCE)

    @classmethod
    def kill_running(cls):
        if cls.running:
            cls.running.process.kill()
            cls.running = None


class Kind:
    """One of the two shells."""

    def __init__(self, command, connect, control):
        self.command = command
        self.connect = connect
        # Where with-ensemble listens.
        self.control = control
        # What words in scripts stand for.
        self.words = {"SERVER": connect}
        # What is its servers' own, such as their ports, and what stands for it in a comparison.
        self.own = {}

    def fill(self, line):
        for word, meaning in self.words.items():
            line = line.replace(word, meaning)
        return line

    def run(self, words):
        words = [self.fill(word) for word in words]
        return subprocess.run(
            self.command + words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )

    def disturb(self, line):
        """Has something done to the servers of the ensemble, and returns the answer."""
        host, port = self.control.rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE) as stream, stream.makefile("rw") as lines:
            lines.write(line + "\n")
            lines.flush()
            answer = lines.readline().rstrip("\n")
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer

    def wait_for_role(self, role, server):
        deadline = time.monotonic() + PATIENCE
        while not self.disturb(f"role {server}").endswith(role):
            assert time.monotonic() < deadline, f"server {server} is not {role}"
            time.sleep(0.05)


# ---- what is compared --------------------------------------------------------------------------


class Neutral:
    """Replaces what differs from run to run; equal numbers stay equal within one script."""

    def __init__(self, kind):
        self.own = {kind.connect: "SERVER"} | kind.own
        self.numbers = {}

    def number(self, text):
        if text in ("0", "-1"):
            return text
        return "Z" + str(self.numbers.setdefault(text, len(self.numbers)))

    def __call__(self, text):
        text = JAVA_NOISE.sub("", text)
        for own, name in self.own.items():
            text = text.replace(own, name)
        text = re.sub(JAVA_DATE, "DATE", text)
        text = re.sub(r"0x([0-9a-f]+)", lambda found: "0x" + self.number(str(int(found[1], 16))), text)
        text = re.sub(r"version=(\w+)", lambda found: "version=" + self.number(found[1]), text)
        text = re.sub(r"zxid: (-?\d+)", lambda found: "zxid: " + self.number(found[1]), text)
        # The order of a hash table, of paths and of identities.
        text = re.sub(
            r"^(Auth scheme: User\n)((?:\w+: .*\n)+)",
            lambda found: found[1] + "".join(sorted(found[2].splitlines(keepends=True))),
            text,
            flags=re.M,
        )
        return re.sub(
            r"^\[(/[^\]]*)\]$", lambda found: "[" + ", ".join(sorted(found[1].split(", "))) + "]", text, flags=re.M
        )


def record(kind, script):
    """Runs a script and returns its steps: each a name, a difference's name or None, and fields."""
    neutral = Neutral(kind)
    steps = []
    session = None
    number = 0
    events = []

    def take(session):
        out = session.out.take()
        events.extend(event for event in EVENT.findall(out) if event)
        return EVENT.sub("", out), session.err.take()

    def end(name, difference=None):
        nonlocal session
        code = session.end()
        out, err = take(session)
        found = {"out": neutral(PROMPT.sub("", out)), "err": neutral(err), "code": code}
        steps.append((name, difference, found))
        # Events come from a thread of their own in upstream's shell: their order counts, their place
        # between the commands' output does not, so their numbers come after all others.
        # The event of the shell's own end is left out: upstream's exit may overtake its event thread.
        if events and " state:Closed " in events[-1]:
            events.pop()
        steps.append((name + " (events)", None, {"events": neutral("\n".join(events))}))
        session = None
        events.clear()

    for line in script.read_text().splitlines():
        if not line or line.startswith("# "):
            continue
        difference = None
        if line.startswith("@"):
            difference, line = line[1:].split(" ", 1)
        if line.startswith("! "):
            verb, what = line[2:].split(" ", 1)
            if verb == "event":
                session.wait_for(lambda text: re.search(what + r".*\n", text))
                out, err = take(session)
                steps.append((f"{script.stem}: {line}", None, fields(neutral, out, err)))
            elif verb in ("read-only", "follower"):
                kind.wait_for_role(verb, what)
            else:
                kind.disturb(line[2:])
        elif line.startswith("= "):
            options = shlex.split(kind.fill(line[2:]))
            session = Session(kind.command + options)
            number = 0
            out, err = take(session)
            steps.append((f"{script.stem}: {line}", difference, fields(neutral, out, err)))
        elif line.startswith(("$ ", "? ")):
            done = kind.run(shlex.split(line[2:]))
            out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
            found = {
                "connected": CONNECTED in out,
                "out": neutral(out.replace(CONNECTED, "")),
                "err": neutral(err),
                "code": done.returncode,
            }
            if line.startswith("? "):
                del found["connected"]
            steps.append((f"{script.stem}: {line}", difference, found))
        elif line == "quit":
            session.process.stdin.write(b"quit\n")
            session.process.stdin.flush()
            end(f"{script.stem}: quit", difference)
        elif line == "<end>":
            end(f"{script.stem}: end of input", difference)
        else:
            typed = "   " if line == "<blanks>" else line
            number += 1
            session.type(kind.fill(typed), number)
            out, err = take(session)
            steps.append((f"{script.stem}: {line}", difference, fields(neutral, out, err)))
    assert not session, f"{script}: the last session has no end"
    return steps


def fields(neutral, out, err):
    prompts = [f"{found[1]} {found[2]} {found[3]}" for found in PROMPT.finditer(out)]
    return {
        "out": neutral(PROMPT.sub("", out)),
        "err": neutral(err),
        "prompt": neutral(" ".join(prompts)),
    }


class Differences:
    """Where ours is meant to differ: for each name, what either side says."""

    def __init__(self):
        self.known = configparser.ConfigParser(interpolation=None)
        self.known.read(HERE / "differences")
        self.used = set()

    def allow(self, name, theirs, ours):
        entry = self.known[name]
        self.used.add(name)
        return all(
            re.search(entry[side], text(found), re.MULTILINE) is not None
            for side, found in (("theirs", theirs), ("ours", ours))
        )


def text(found):
    return "\n".join(f"{field}: {value}" for field, value in found.items())


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def step(self, name, problem):
        if problem:
            self.failed += 1
            print(f"FAIL {name}\n{problem}", flush=True)
        else:
            self.passed += 1


def compare(count, differences, theirs, ours):
    if len(theirs) != len(ours):
        count.step("length", f"{len(theirs)} steps and {len(ours)}")
    for (name, difference, wanted), (_, _, found) in zip(theirs, ours):
        problem = None
        if found.get("connected"):
            # Upstream may end before its other thread has printed this.
            wanted["connected"] = True
        shown = f"   theirs: {wanted}\n   ours:   {found}"
        if difference is None:
            if wanted != found:
                problem = shown
        elif wanted == found and "at times" not in differences.known[difference]:
            problem = f"no difference any more: {difference}\n{shown}"
        elif not differences.allow(difference, wanted, found):
            problem = f"not as {difference} says\n{shown}"
        count.step(name, problem)


# ---- what ours has beyond upstream -------------------------------------------------------------


def own(count, kind, directory):
    """own.script: lines behind `> ` or `$ `, and what is expected of each."""
    neutral = Neutral(kind)
    blocks = []
    for line in (HERE / "own.script").read_text().splitlines():
        if line.startswith(("> ", "$ ")):
            blocks.append((line, []))
        elif line and not line.startswith("# "):
            blocks[-1][1].append(line)
    for name, value in (("hex", "0x100000\nzookeeper.request.timeout=5000"), ("no", "1k")):
        (Path(directory) / f"{name}.properties").write_text(f"jute.maxbuffer={value}\n")
    session = Session(kind.command + ["-server", kind.connect])
    session.out.take(), session.err.take()
    number = 0
    for line, expected in blocks:
        typed = line[2:].replace("DIR", directory)
        if line.startswith("$ "):
            done = kind.run(shlex.split(typed))
            out, err = done.stdout.decode(), done.stderr.decode()
            tail = [f"code {done.returncode}"]
            out, err = (re.sub(r"Connecting to \S+\n", "", EVENT.sub("", text)) for text in (out, err))
        else:
            number += 1
            session.type(typed, number)
            out, err, tail = session.out.take(), session.err.take(), []
            out = EVENT.sub("", PROMPT.sub("", out))
        found = ["err| " + text for text in neutral(err).replace(directory, "DIR").splitlines()]
        found += ["out| " + text for text in neutral(out).replace(directory, "DIR").splitlines()]
        found += tail
        found = [re.sub(r"\d+-\d+-\d+T[\d:.]+Z", "TIME", text).rstrip() for text in found]
        found = [re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text) for text in found]
        found = [re.sub(r'("\w+Zxid":)"0x\w+"', r'\1"HEX"', text) for text in found]
        found = [re.sub(r'("(?:ctime|mtime)":)\d+', r"\1N", text) for text in found]
        wanted = [text.rstrip() for text in expected]
        count.step(f"own: {line}", None if found == wanted else f"   wanted: {wanted}\n   found:  {found}")
    session.end()


# ---- a terminal --------------------------------------------------------------------------------


class Terminal:
    """Ours on a pseudo terminal."""

    def __init__(self, kind, home, words=(), connect=None, term="xterm"):
        environment = dict(os.environ, HOME=home, TERM=term)
        for name in ("XDG_STATE_HOME", "MEERKAT_CLI_HISTORY", "NO_COLOR"):
            environment.pop(name, None)
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvpe(kind.command[0], kind.command + ["-server", connect or kind.connect, *words], environment)
        self.text = ""

    def wait_for(self, pattern):
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            if not select.select([self.file], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no {pattern!r} in {self.text!r}")
            try:
                self.text += os.read(self.file, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"no {pattern!r} in {self.text!r}") from error
        self.text = self.text[found.end() :]
        return found

    def type(self, text):
        os.write(self.file, text.encode())

    def end(self):
        """Reads to the end and returns the exit code."""
        is_over = False
        try:
            while select.select([self.file], [], [], PATIENCE)[0]:
                if not os.read(self.file, 65536):
                    is_over = True
                    break
        except OSError:
            is_over = True
        if not is_over:
            os.kill(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.file)
        assert is_over, "the shell does not end"
        return code


def completes_and_remembers(kind, home):
    shell = Terminal(kind, home)
    shell.wait_for(r"CONNECTED\) 0\] ")
    shell.type("create /completed x\r")
    shell.wait_for(r"Created /completed")
    shell.wait_for(r"\) 1\] ")
    shell.type("ge")
    shell.type("t /comp\t")
    shell.wait_for(r"get /completed")
    shell.type("\r")
    shell.wait_for(r"\nx\r\n")
    shell.wait_for(r"\) 2\] ")
    shell.type("prin\ton\r")
    shell.wait_for(r"printwatches ")
    shell.wait_for(r"\) 3\] ")
    shell.type("addauth digest me:secret\r")
    shell.wait_for(r"\) 4\] ")
    # A name with a blank gets quotes, or the end of those that are there.
    shell.type('create "/blank in it" y\r')
    shell.wait_for(r"\) 5\] ")
    for typed in ("get /bla", 'get "/blank i'):
        shell.type(typed + "\t")
        shell.wait_for(r'get "/blank in it"')
        shell.type("\r")
        shell.wait_for(r"\ny\r\n")
        shell.wait_for(r"\) \d\] ")
    shell.type("get /completed\r")
    shell.wait_for(r"\nx\r\n")
    shell.wait_for(r"\) 8\] ")
    shell.type("\x04")
    code = shell.end()
    assert code == 0, code
    shell = Terminal(kind, home)
    shell.wait_for(r"CONNECTED\) 0\] ")
    # Arrow up: a line of the run before.
    shell.type("\x1b[A\r")
    shell.wait_for(r"\nx\r\n")
    shell.type("get /none\r")
    shell.wait_for(r"Node does not exist: /none")
    shell.wait_for(r"\) 2\] ")
    shell.type("\x03")
    code = shell.end()
    assert code == 1, code
    history = next(Path(home).rglob("zkcli_history")).read_text()
    assert "get /completed" in history, history
    assert "secret" not in history, history


def prints_events_above_the_line(kind, home):
    shell = Terminal(kind, home)
    shell.wait_for(r"CONNECTED\) 0\] ")
    shell.type("create /seen x\rget -w /seen\r")
    shell.wait_for(r"\) 2\] ")
    shell.type("get /se")
    shell.wait_for(r"get /se")
    assert kind.run(["-server", "SERVER", "set", "/seen", "y"]).returncode == 0
    shell.wait_for(r"NodeDataChanged path:/seen")
    # The line being edited is drawn again.
    shell.wait_for(r"get /se")
    shell.type("en\r")
    shell.wait_for(r"\ny\r\n")
    shell.type("quit\r")
    code = shell.end()
    assert code == 0, code


def colours_a_terminal_only(kind, home):
    shell = Terminal(kind, home, ["get", "/none"])
    shell.wait_for(r"\x1b\[31mNode does not exist: /none\x1b\[0m")
    code = shell.end()
    assert code == 1, code
    done = kind.run(["-server", "SERVER", "get", "/none"])
    assert b"\x1b" not in done.stdout + done.stderr, done


def interrupts_a_command_and_goes_on(kind, home):
    shell = Terminal(kind, home)
    shell.wait_for(r"CONNECTED\) 0\] ")
    shell.type("watch /\r")
    shell.wait_for(r"Watching /")
    assert kind.run(["-server", "SERVER", "create", "/heard"]).returncode == 0
    shell.wait_for(r"NodeCreated[^/]*/heard zxid: \d+")
    shell.type("\x03")
    shell.wait_for(r"\) 1\] ")
    # The watch is gone with the command.
    shell.type("removewatches /\r")
    shell.wait_for(r"No such watcher for /\x1b")
    # Typed ahead it would be lost: without an editor the terminal takes it for itself.
    shell.wait_for(r"\) 2\] ")
    shell.type("\x04")
    code = shell.end()
    assert code == 1, code


def says_how_far_it_came(kind, home):
    nodes = [{"path": ""}] + [{"path": f"/n{number}"} for number in range(1500)]
    nodes[1200]["path"] = "/none/n"
    document = {"format": "meerkat-subtree-1", "path": "/far", "nodes": nodes}
    file = Path(home) / "far.json"
    file.write_text(json.dumps(document))
    done = kind.run(["-server", "SERVER", "import", str(file)])
    told = b"Node does not exist: /far/none/n\n1000 of 1501 znodes were created before\n"
    assert done.returncode == 1 and told in done.stderr, done
    # The server does not get the request, and somebody loses patience.
    proxy = Proxy(kind.connect)
    proxy.bytes_max = 16384
    shell = Terminal(kind, home, connect=proxy.address)
    shell.wait_for(r"CONNECTED\) 0\] ")
    shell.type(f"import {file} /further\r")
    proxy.held.wait(PATIENCE)
    shell.type("\x03")
    shell.wait_for(r"0 of 1501 znodes were created before, and 1000 more perhaps")
    shell.wait_for(r"\) 1\] ")
    proxy.cut()
    shell.type("\x04")
    code = shell.end()
    assert code == 130, code


def moves_one_znode_of_any_size(kind, home):
    document = {"format": "meerkat-subtree-1", "path": "/large", "nodes": [{"path": "", "data": "x" * 900_000}]}
    file = Path(home) / "large.json"
    file.write_text(json.dumps(document))
    for words in (["import", str(file)], ["mv", "/large", "/larger"]):
        done = kind.run(["-server", "SERVER", *words])
        assert done.returncode == 0, done.stderr
    assert len(kind.run(["-server", "SERVER", "get", "/larger"]).stdout) > 900_000


def keeps_watches_of_addwatch(kind, home):
    session = Session(kind.command + ["-server", kind.connect])
    for number, line in enumerate(("create /kept", "addWatch /kept", "watch -n 0 /kept"), 1):
        session.type(line, number)
    session.type("set /kept x", 4)
    session.wait_for_text("type:NodeDataChanged path:/kept")
    code = session.end()
    assert code == 0, code


def leaves_a_server_that_hangs(kind, home):
    """The watch cannot be removed there, so it is forgotten here."""
    proxy = Proxy(kind.connect)
    shell = Terminal(kind, home, connect=proxy.address)
    shell.wait_for(r"CONNECTED\) 0\] ")
    shell.type("watch /\r")
    shell.wait_for(r"Watching /")
    proxy.bytes_max = 0
    shell.type("\x03")
    found = shell.wait_for(r"\) 1\] ")
    # The prompt is back long before the connection is given up.
    assert "Disconnected" not in found.string[: found.end()], found.string
    proxy.cut()
    shell.type("\x04")
    code = shell.end()
    assert code == 130, code


def leaves_a_dumb_terminal(kind, home):
    shell = Terminal(kind, home, term="dumb")
    shell.wait_for(r"CONNECTED\) 0\] ")
    # Once a command has run, signals come to the shell.
    shell.type("ls /none\r")
    shell.wait_for(r"\) 1\] ")
    shell.type("\x03")
    code = shell.end()
    assert code == 1, code


def copies_what_changes(kind, home):
    """Children that go between two lists are no failure."""
    assert kind.run(["-server", "SERVER", "create", "/busy"]).returncode == 0
    file = Path(home) / "lines"
    names = (f"/busy/n{number % 40}" for number in range(600))
    file.write_text("".join(f"create {name}\ncreate {name}/x\ndeleteall {name}\n" for name in names))
    with open(file) as lines:
        command = kind.command + ["-server", kind.connect]
        writer = subprocess.Popen(command, stdin=lines, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while writer.poll() is None:
            done = kind.run(["-server", "SERVER", "-closesession", "export", "/busy"])
            assert done.returncode == 0, done.stderr
    finally:
        writer.kill()
        writer.wait()


# ---- broken connections ------------------------------------------------------------------------


class Proxy:
    """Stands between a shell and a server, and may cut their connections."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = []
        self.is_down = False
        # Requests of so many bytes and more are held back.
        self.bytes_max = 1 << 30
        self.held = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.is_down:
                client.close()
                continue
            server = socket.create_connection(self.target)
            self.open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        try:
            while chunk := source.recv(65536):
                if len(chunk) < self.bytes_max:
                    sink.sendall(chunk)
                else:
                    self.held.set()
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for end in self.open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open.clear()


def takes_its_session_up_again(kind, _):
    proxy = Proxy(kind.connect)
    session = Session(kind.command + ["-server", proxy.address + "/again"])
    assert kind.run(["-server", "SERVER", "create", "/again"]).returncode == 0
    lines = ["addauth digest me:secret", "create -e /mine x auth::cdrwa", "addWatch /seen", "get -w /mine"]
    for number, line in enumerate(lines, 1):
        session.type(line, number)
    session.out.take()
    proxy.cut()
    session.wait_for_text("state:Disconnected")
    session.wait_for_text("state:SyncConnected type:None")
    # Watches are armed, the credential is known, the ephemeral is there.
    assert kind.run(["-server", "SERVER", "create", "/again/seen"]).returncode == 0
    session.wait_for_text("type:NodeCreated path:/seen")
    session.type("set /mine y", 5)
    session.wait_for_text("type:NodeDataChanged path:/mine")
    session.err.take()
    # Changes behind its back are told when it is back.
    session.type("get -w /seen", 6)
    proxy.is_down = True
    proxy.cut()
    session.wait_for_text("state:Disconnected")
    assert kind.run(["-server", "SERVER", "set", "/again/seen", "z"]).returncode == 0
    session.type("get /seen", 7)
    assert session.err.take() == "KeeperErrorCode = ConnectionLoss for /seen\n"
    proxy.is_down = False
    told = session.wait_for_text("type:NodeDataChanged path:/seen")
    assert "state:SyncConnected type:None" in told, told
    code = session.end()
    assert code == 1, code


def tries_all_servers(kind, _):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = "127.0.0.1:%d" % taken.getsockname()[1]
    done = kind.run(["-server", f"{dead},SERVER", "ls", "/"])
    assert done.returncode == 0, done
    done = kind.run(["-server", dead, "ls", "/"])
    assert (done.returncode, done.stderr) == (1, b"KeeperErrorCode = ConnectionLoss for /\n"), done


def leaves_its_session_unless_told(kind, _):
    for words, is_there in (([], True), (["-closesession"], False)):
        done = kind.run(["-server", "SERVER", *words, "create", "-e", "/left", "x"])
        assert done.returncode == 0, done
        done = kind.run(["-server", "SERVER", "delete", "/left"])
        assert (done.returncode == 0) == is_there, done


def speaks_json_alone(kind, _):
    """Whatever the session tells, stdout can be parsed; and data that is no text comes as base64."""
    assert kind.run(["-server", "SERVER", "create", "/json", "x"]).returncode == 0
    command = kind.command + ["-server", kind.connect, "watch", "-d", "-n", "1", "-o", "json", "/json"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if line == b"Watching /json\n":
                break
        assert kind.run(["-server", "SERVER", "set", "-b", "/json", "/w=="]).returncode == 0
        told = json.loads(process.communicate(timeout=PATIENCE)[0])
    assert (told["data"], told["dataBase64"]) == (None, "/w=="), told
    assert re.fullmatch("0x[0-9a-f]+", told["zxid"]), told
    exported = json.loads(kind.run(["-server", "SERVER", "export", "/json"]).stdout)
    assert exported["nodes"][0]["dataBase64"] == "/w==", exported
    got = json.loads(kind.run(["-server", "SERVER", "stat", "-o", "json", "/json"]).stdout)
    assert got["stat"]["mZxid"] == told["zxid"], (got, told)


def keeps_ephemerals_behind_ctrl_d(kind, home):
    for end, is_there in (("\x04", True), ("quit\r", False)):
        shell = Terminal(kind, home)
        shell.wait_for(r"CONNECTED\) 0\] ")
        shell.type("create -e /behind x\r")
        shell.wait_for(r"\) 1\] ")
        shell.type(end)
        code = shell.end()
        assert code == 0, code
        done = kind.run(["-server", "SERVER", "delete", "/behind"])
        assert (done.returncode == 0) == is_there, done


def starts_at_once(kind, _):
    """By the processor's time, which other programs do not lengthen: a JVM takes 500 ms and more."""
    with subprocess.Popen(kind.command + ["-server", kind.connect, "version"], stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    assert used.ru_utime + used.ru_stime < 0.2, used


def ends_when_nobody_reads(kind, _):
    command = kind.command + ["-server", kind.connect, "ls", "-R", "/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        process.wait(PATIENCE)
        complaint = process.stderr.read()
    assert b"panic" not in complaint, complaint


CHECKS = (
    completes_and_remembers,
    prints_events_above_the_line,
    colours_a_terminal_only,
    interrupts_a_command_and_goes_on,
    copies_what_changes,
    says_how_far_it_came,
    moves_one_znode_of_any_size,
    keeps_watches_of_addwatch,
    leaves_a_server_that_hangs,
    leaves_a_dumb_terminal,
    takes_its_session_up_again,
    tries_all_servers,
    leaves_its_session_unless_told,
    speaks_json_alone,
    keeps_ephemerals_behind_ctrl_d,
    starts_at_once,
    ends_when_nobody_reads,
)


def ensemble(count, differences, theirs, ours, directory):
    """The commands about members. Each shell changes its own ensemble, and changes it back."""
    for number, kind in enumerate((theirs, ours)):
        kind.connect = kind.words["SERVER"] = kind.connect.split(",")[0]
        told = json.loads(ours.run(["-server", kind.connect, "config", "-o", "json"]).stdout.decode().splitlines()[-1])
        members = [line for line in told["members"] if line.startswith("server.")]
        for member in members:
            name = member.split("=")[0]
            for place, port in enumerate(re.findall(r":(\d{4,5})", member)):
                kind.own[f":{port}"] = f":{name}.{place}"
        files = {"good": "\n".join(members), "key": "clientPort=1", "form": "server.1=a"}
        files["observers"] = re.sub("participant", "observer", members[0])
        home = Path(directory) / f"members{number}"
        home.mkdir()
        for name, lines in files.items():
            (home / name).write_text(lines + "\n")
        kind.words |= {"MEMBERS": ",".join(members), "DIR": str(home)}
        kind.own[str(home)] = "DIR"
    script = HERE / "ensemble.script"
    compare(count, differences, record(theirs, script), record(ours, script))
    # Of one server of the connect string the others are known.
    other = ours.disturb("addr 2").split()[-1]
    session = Session(ours.command + ["-server", other])
    session.type("create -e /held", 1)
    done = ours.run(["-server", "SERVER", "owners"])
    session.end()
    is_well = re.fullmatch(rb"0x\w+ 127\.0\.0\.1:\d+\n    /held\n", done.stdout)
    count.step("owners of an ensemble", None if is_well else f"   {done}")


def servers_of_one(count, differences, theirs, ours, name):
    """A script for one server of an ensemble, which loses it or its quorum."""
    for kind in (theirs, ours):
        kind.connect = kind.words["SERVER"] = kind.connect.split(",")[0]
    script = HERE / f"{name}.script"
    compare(count, differences, record(theirs, script), record(ours, script))
    if name == "limits":
        done = ours.run(["-server", "SERVER", "create", "-e", "/mine"])
        assert done.returncode == 0, done
        done = ours.run(["-server", "SERVER", "owners"])
        told = "A server does not tell who is connected: its 4lw.commands.whitelist is without cons.\n"
        is_well = told in done.stderr.decode() and b"address unknown" in done.stdout
        count.step("owners without cons", None if is_well else f"   {done}")


# Scripts that need servers of another kind than the rest; `run` starts them.
WITH_SERVERS_OF_THEIR_OWN = ("limits", "disconnect", "readonly", "readonly-nolocalsessions")


def main():
    java = Kind(
        shlex.split(os.environ["JAVA_SHELL"]), os.environ["ZK_CONNECT_JAVA"], os.environ.get("ZK_CONTROL_JAVA")
    )
    ours = Kind([os.environ["MEERKAT_CLI_BIN"]], os.environ["ZK_CONNECT"], os.environ.get("ZK_CONTROL"))
    os.environ["TZ"] = "America/New_York"
    only = sys.argv[1:]
    count = Count()
    differences = Differences()
    mishaps = (AssertionError, OSError, subprocess.TimeoutExpired, ValueError)

    def is_wanted(name):
        return name in only if only else name not in ("ensemble", *WITH_SERVERS_OF_THEIR_OWN)

    with tempfile.TemporaryDirectory() as directory:
        # Name and what is to be done.
        parts = [
            (script.stem, lambda script=script: compare(count, differences, record(java, script), record(ours, script)))
            for script in sorted((HERE / "scripts").glob("*.script"))
        ]
        parts.append(("ensemble", lambda: ensemble(count, differences, java, ours, directory)))
        parts += [
            (name, lambda name=name: servers_of_one(count, differences, java, ours, name))
            for name in WITH_SERVERS_OF_THEIR_OWN
        ]
        parts.append(("own", lambda: own(count, ours, directory)))
        for name, run in parts:
            if is_wanted(name):
                try:
                    run()
                except mishaps as error:
                    count.step(name, f"   {error}")
                    Session.kill_running()
        for check in CHECKS:
            if not is_wanted(check.__name__):
                continue
            home = Path(directory) / check.__name__
            home.mkdir()
            problem = None
            try:
                check(ours, str(home))
            except mishaps as error:
                problem = f"   {error}"
                Session.kill_running()
            count.step(check.__name__, problem)
    if not only:
        unused = set(differences.known.sections()) - differences.used - {"members-order"}
        count.step("differences", f"   never seen: {unused}" if unused else None)
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())

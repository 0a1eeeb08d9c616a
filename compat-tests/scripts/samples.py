"""What upstream's scripts and server say to the same commands and configurations, and what ours say.

`samples/zkserver` and `samples/directories` are sessions with the scripts of ZooKeeper: `$` a command,
then its lines on stdout and stderr and its exit code. Its scripts are in no package that could be run
here, so the sessions are the expectation. `!` is a command that brings about the state which upstream's
was in. `samples/config-errors` has configurations, each given to a ZooKeeper beside ours. CONF, DATA,
LOGS, PORT and the like stand for what is another in each run.

Both sides are the same, except where a block names one of `differences`.
Ends with `N passed, N failed`.
"""

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
BIN = HERE.parent.parent / "bin"
PATIENCE = 60
JAVA = "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx64m -Xlog:disable -cp".split()


def free_ports(count):
    """Ports that nobody has, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [port.getsockname()[1] for port in held]
    for port in held:
        port.close()
    return ports


# ---- sessions with the scripts -----------------------------------------------------------------


def blocks_of(name):
    """Blocks of a session, each a list of lines."""
    lines = (HERE / "samples" / name).read_text().splitlines()
    block = []
    for line in lines + ["$"]:
        if line.startswith("$") and block:
            yield block
            block = []
        if line and not line.startswith("#"):
            block.append(line)


def sessions(work):
    """Yields name, difference, what upstream said and what ours says, for each command."""
    opt, conf, nobody = work / "opt/bin", work / "conf", work / "opt/conf"
    shutil.copytree(BIN, opt)
    (opt / "zk-server").symlink_to(os.environ["MEERKAT_BIN"])
    port, admin = free_ports(2)
    words = {"CONF": conf, "DATA": work / "data", "LOGS": work / "logs", "NOCONF": nobody, "PORT": port}
    lines = f"dataDir={work}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.serverPort={admin}\n"

    def run(line):
        command = [re.sub(r"\b(CONF|DATA)\b", lambda found: str(words[found[0]]), word) for word in shlex.split(line)]
        environment = {name: value for name, value in os.environ.items() if name != "MEERKAT_BIN"}
        environment["ZOO_LOG_DIR"] = str(words["LOGS"])
        if command[0].endswith(".sh"):
            # Upstream's others were asked in an installation that has a configuration.
            if command[0] != "zkServer.sh":
                environment["ZOOCFGDIR"] = str(conf)
            command[0] = str(opt / command[0])
        said = subprocess.run(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        out, err = (neutral(text) for text in (said.stdout, said.stderr))
        return f"out: {out}err: {err}code: {said.returncode}"

    def neutral(text):
        if not text:
            return "\n"
        for word, meaning in (("CONF", conf), ("DATA", words["DATA"]), ("LOGS", words["LOGS"]), ("NOCONF", nobody)):
            text = text.replace(str(meaning), word)
        text = text.replace(f"{opt}/zkServer", "bin/zkServer").replace(str(work), "WORK")
        text = re.sub(rf"\b{port}\b", "PORT", text)
        return re.sub(r"process \d+", "process PID", text)

    for name in ("zkserver", "directories"):
        shutil.rmtree(words["DATA"], ignore_errors=True)
        conf.mkdir(exist_ok=True)
        (conf / "zoo.cfg").write_text(lines)
        block = []
        for line in [line for block in blocks_of(name) for line in block]:
            if line[0] == "!":
                said = run(line[1:])
                assert said.endswith("code: 0"), f"{line}: {said}"
            elif line[0] == "$":
                command, _, difference = line[1:].partition("  @")
                block = {"out": "", "err": ""}
                # Asked at once: what comes behind may change the state.
                ours = run(command)
            elif found := re.match(r"  (out|err)\| (.*)", line):
                block[found[1]] += found[2] + "\n"
            else:
                code = line.removeprefix("  rc=")
                theirs = f"out: {block['out'] or chr(10)}err: {block['err'] or chr(10)}code: {code}"
                yield command.strip(), difference or None, theirs, ours


# ---- configurations ----------------------------------------------------------------------------


class Configuration:
    """One block of config-errors."""

    def __init__(self, text):
        head, *lines = text.strip().splitlines()
        self.name, _, difference = head.partition("  @")
        self.difference = difference or None
        self.files = {"cfg": [], "myid": [], "dyn": []}
        for line in lines:
            if found := re.match(r"  (\w+)\| (.*)", line):
                self.files[found[1]].append(found[2])
            else:
                self.code = line.removeprefix("  exit=")
        if not any(line.startswith("admin.") for line in self.files["cfg"]):
            self.files["cfg"].append("admin.serverPort=ADMIN")

    def run(self, work, command):
        """What a server says to it: reasons, the last line of stderr and the exit code."""
        work.mkdir(parents=True)
        taken = socket.create_server(("127.0.0.1", 0))
        words = {"DATA": work, "TAKEN": taken.getsockname()[1]}
        words.update(zip(("PORT", "SECOND", "ADMIN"), free_ports(3)))

        def fill(text):
            return re.sub(r"\b(DATA|TAKEN|PORT|SECOND|ADMIN)\b", lambda found: str(words[found[0]]), text)

        for kind, name in (("cfg", "zoo.cfg"), ("myid", "myid"), ("dyn", "dyn")):
            if self.files[kind]:
                (work / name).write_text(fill("\n".join(self.files[kind])) + "\n")
        process = subprocess.Popen(
            [*command, str(work / "zoo.cfg")],
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if self.code == "none":
                # One that is not refused answers there.
                self.wait_for(process, words["ADMIN"] if self.name == "noport" else words["PORT"])
                process.kill()
            err = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
            taken.close()
        for word, meaning in words.items():
            err = err.replace(str(meaning), word)
        code = "none" if process.returncode == -signal.SIGKILL else process.returncode
        return err, code

    @staticmethod
    def wait_for(process, port):
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.05)


LAST = re.compile(r"^[A-Z][\w ]+, exiting abnormally$", re.M)
CAUSE = re.compile(r"^(?:Caused by: )?[\w.$]+(?:Exception|Error): (.*)$", re.M)


def configurations(work, java):
    """Yields name, difference, what ZooKeeper says and what ours says, for each configuration."""
    texts = (HERE / "samples/config-errors").read_text().split("\n## ")[1:]
    both = [Configuration(text) for text in texts]

    def ask(configuration):
        theirs, their_code = configuration.run(work / configuration.name / "theirs", java)
        ours, our_code = configuration.run(work / configuration.name / "ours", [os.environ["MEERKAT_BIN"]])
        # The stack trace that ended it, without the line that only names the file.
        end = theirs.rfind("exiting abnormally\n", 0, theirs.find("\n\tat") + 1)
        reasons = CAUSE.findall(theirs[max(end, 0) :]) if "\n\tat" in theirs else []
        reasons = [reason for reason in reasons if reason != "Error processing DATA/zoo.cfg"]
        sentence = LAST.sub("", ours).strip()
        # All of them are in ours.
        is_same = bool(reasons) == bool(sentence) and all(reason in sentence for reason in reasons)
        their_reason = "\n".join(reasons)

        def side(reason, text, code):
            # The logger's own lines are indented or begin with the thread.
            last = LAST.findall(text)
            return f"reason: {reason}\nlast: {last[-1] if last else ''}\ncode: {code}"

        assert str(their_code) == configuration.code, f"ZooKeeper ends with {their_code}, not {configuration.code}"
        return side(their_reason, theirs, their_code), side(their_reason if is_same else sentence, ours, our_code)

    with ThreadPoolExecutor(2) as pool:
        asked = [(configuration, pool.submit(ask, configuration)) for configuration in both]
        for configuration, answer in asked:
            yield configuration.name, configuration.difference, *answer.result()


# ---- all of them -------------------------------------------------------------------------------


class Differences:
    def __init__(self):
        self.parser = configparser.ConfigParser(interpolation=None)
        self.parser.read(HERE / "differences")
        self.unseen = set(self.parser.sections())

    def judge(self, difference, theirs, ours):
        """What is wrong, or None."""
        if difference is None:
            return None if theirs == ours else "they differ"
        entry = self.parser[difference]
        self.unseen.discard(difference)
        if theirs == ours:
            return f"they have become equal: [{difference}]"
        for side, said in (("theirs", theirs), ("ours", ours)):
            if not re.search(entry[side], said, re.M):
                return f"{side} is not as [{difference}] says"
        return None


def main():
    differences = Differences()
    passed = failed = 0
    java = [*JAVA, sys.argv[1], "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
    with tempfile.TemporaryDirectory() as work:
        work = Path(work).resolve()
        for part in (sessions(work / "sessions"), configurations(work / "configurations", java)):
            for name, difference, theirs, ours in part:
                wrong = differences.judge(difference, theirs, ours)
                if wrong is None:
                    passed += 1
                else:
                    failed += 1
                    print(f"FAIL  sample {name}: {wrong}\n--- theirs\n{theirs}\n--- ours\n{ours}")
    for name in differences.unseen:
        failed += 1
        print(f"FAIL  no sample shows the difference [{name}]")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs froe and the programs that it runs per object, and reads what they say."""
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse

PROGRAMS = pathlib.Path(__file__).parent / "programs"
DRAINED, INTERNAL, USAGE, NO_CREDENTIALS, UNREACHABLE, STORE, PARKED, INTERRUPTED, DENIED = range(9)
# Handed through to froe: where the sanitizers' reports are steered from.
PASSED_ON = ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")


class Timeout(AssertionError):
    pass


@dataclasses.dataclass
class Result:
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def log(self):
        """The log's lines as objects; with --log json there must be nothing else on stderr."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def said(self, message):
        return [line for line in self.log if line["message"] == message]

    def __str__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s\n-- stdout\n{self.stdout}\n-- stderr\n{self.stderr}"


class Running:
    """A froe process; its output goes to files, so that it never waits for us."""

    def __init__(self, command, env, folder, patience, cwd=None, limits=None):
        self.command, self.patience = command, patience
        stem = f"froe-{time.monotonic_ns()}"
        self.out, self.err = folder / f"{stem}.out", folder / f"{stem}.err"
        self.began = time.monotonic()
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                            start_new_session=True, preexec_fn=limits)
        self.pid = self.process.pid

    def result(self):
        return Result(self.process.returncode, self.out.read_text(errors="surrogateescape"),
                      self.err.read_text(errors="surrogateescape"), time.monotonic() - self.began)

    def wait(self, timeout=60):
        try:
            self.process.wait(timeout * self.patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Timeout(f"{' '.join(self.command)} did not end within {timeout * self.patience} s\n{self.result()}") from None
        result = self.result()
        for report in ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:"):
            assert report not in result.stderr, result.stderr
        return result

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=30):
        """Asks it to end, as a service manager would."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def until(self, what, check, timeout=30):
        """Waits for check() while froe runs; gives what it gave."""
        end = time.monotonic() + timeout * self.patience
        while True:
            found = check()
            if found:
                return found
            assert self.process.poll() is None, f"froe ended while waiting for: {what}\n{self.result()}"
            if time.monotonic() > end:
                text = f"not within {timeout * self.patience} s: {what}\n{self.result()}"
                self.kill()
                raise Timeout(text)
            time.sleep(0.02)


class Record:
    """What the record program wrote: a line when it begins and one when it ends an object, of each attempt."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def lines(self):
        """[(what, program's pid, bucket, key, attempt, ...)] in the order in which it happened."""
        found = []
        for line in self.path.read_text().splitlines():
            what, pid, bucket, key, *more = line.split(" ")
            found.append((what, int(pid), bucket, urllib.parse.unquote(key, errors="surrogateescape"), *more))
        return found

    def begun(self):
        return [(bucket, key) for what, _, bucket, key, *_ in self.lines() if what == "begin"]

    def ended(self):
        return [(bucket, key) for what, _, bucket, key, *_ in self.lines() if what == "end"]

    def twice(self):
        """Objects of which two attempts were alive at once, as the recorder's `alone` has seen it."""
        return [(bucket, key) for what, _, bucket, key, *_ in self.lines() if what == "twice"]

    def mark(self):
        with open(self.path, "a", encoding="utf-8") as out:
            out.write("mark 0 - -\n")

    def most_at_once(self):
        """(in all, by bucket). What was running at a mark was killed there; that it has really ended is checked."""
        now, most, by_bucket, killed = {}, 0, {}, set()
        begun_since_mark = False
        for what, pid, bucket, key, *_ in self.lines():
            if what == "mark":
                killed |= {(p, *rest) for p, rest in now.items()}
                now, begun_since_mark = {}, False
            elif what == "begin":
                begun_since_mark = True
                assert pid not in now, f"program {pid} began twice"
                now[pid] = (bucket, key)
                most = max(most, len(now))
                here = sum(b == bucket for b, _ in now.values())
                by_bucket[bucket] = max(by_bucket.get(bucket, 0), here)
                assert sum(running == (bucket, key) for running in now.values()) == 1, f"{bucket}/{key} runs twice at once"
            elif pid in now:
                del now[pid]
            else:
                assert (pid, bucket, key) in killed, f"program {pid} ended but never began"
                assert not begun_since_mark, f"program {pid} outlived its froe, and another began its work"
        return most, by_bucket


class Froe:
    def __init__(self, build, server, folder, prefix, wrapper=(), patience=1.0):
        self.program = str(pathlib.Path(build).resolve() / "src/cli/froe")
        self.server, self.folder, self.prefix = server, folder, prefix
        self.wrapper, self.patience = list(wrapper), patience
        self.store = folder / "state" / "froe.db"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.record = Record(folder / "record")
        self.all = []

    def env(self, **more):
        """A clean environment; a value None removes a variable."""
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env |= {"HOME": str(self.home), "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"}
        if self.server:
            env |= self.server.env()
        return {name: str(value) for name, value in (env | more).items() if value is not None}

    def command(self, *args, program=None):
        return [*self.wrapper, self.program, *map(str, args), *(["--", *map(str, program)] if program else [])]

    def start(self, *args, program=None, env=None, limits=None, plain=False):
        """`plain` leaves out what every run is given otherwise: --store, --bucket-prefix and --log json."""
        if not plain:
            given = ["--store", f"sqlite:{self.store}"]
            if args[0] == "check":
                given = []
            if args[0] in ("run", "check"):
                given += ["--bucket-prefix", self.prefix]
            if args[0] == "run":
                given += ["--log", "json"]
            args = [args[0], *given, *args[1:]]
            if args[0] == "parked":  # the verb comes first
                args = ["parked", args[3], *given, *args[4:]]
        running = Running(self.command(*args, program=program), self.env(**(env or {})), self.folder, self.patience,
                          limits=limits)
        self.all.append(running)
        return running

    def run(self, *args, timeout=60, **more):
        return self.start(*args, **more).wait(timeout)

    def once(self, *args, program=None, timeout=60, expect=DRAINED, **more):
        result = self.run("run", "--once", *args, program=program, timeout=timeout, **more)
        assert result.code == expect, result
        return result

    def is_up(self):
        return self.store.exists() and self.status()["running"]

    def status(self, expect=DRAINED):
        result = self.run("status", "--json", timeout=20)
        assert result.code == expect, result
        return json.loads(result.stdout)

    def status_of(self, bucket):
        """None when it is not known, or when there is no store yet."""
        if not self.store.exists():
            return None
        for found in self.status()["buckets"]:
            if found["bucket"] == bucket:
                return found
        return None

    def parked(self):
        if not self.store.exists():
            return []
        result = self.run("parked", "list", "--json", timeout=20)
        assert result.code == DRAINED, result
        return [json.loads(line) for line in result.stdout.splitlines()]

    def parked_do(self, verb, *args):
        """How many were retried or dropped."""
        result = self.run("parked", verb, "--json", *args, timeout=20)
        assert result.code == DRAINED, result
        return json.loads(result.stdout)["count"]

    def recorder(self, *behaviour):
        """The program that writes down what it sees; see programs/record."""
        return ["/bin/sh", PROGRAMS / "record", self.record.path, *behaviour]

    def kill_all(self):
        for running in self.all:
            running.kill()


def kill(pid):
    """SIGKILL; False: it has ended by itself meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def processes_of(text):
    """Pids of living processes with `text` in their command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = re.search(r"\) (\S)", (entry / "stat").read_text()).group(1)
            except (OSError, AttributeError):
                continue
            if text in line and state != "Z":
                found.append((int(entry.name), line))
    return found

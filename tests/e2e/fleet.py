"""Several froe processes on one PostgreSQL, and what can be seen of them from outside.

What counts is told by programs/witness.c, which every object is given to, by the S3 server, and by the database itself; what
froe says of itself is only compared with that.
"""
import collections
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import postgres as postgresql
import pytest
from froe import DRAINED, PROGRAMS, Running

Line = collections.namedtuple("Line", "what ms pid bucket key attempt worker in_bucket in_worker twice")
EVERY_SECOND, NEVER = "* * * * * *", "0 0 29 2 *"


def build_witness(folder):
    program = pathlib.Path(folder) / "witness"
    subprocess.run(["cc", "-std=c17", "-O1", "-o", program, PROGRAMS / "witness.c"], check=True)
    return program


class Worker:
    """One place in the fleet: a froe that can be ended, however, and started again."""

    def __init__(self, fleet, name, store=None):
        self.fleet, self.name, self.store = fleet, name, store or fleet.store
        self.running, self.said, self.frozen = None, [], []

    def start(self, **changed):
        options = self.fleet.options | changed
        words = ["--store", self.store, "--bucket-prefix", self.fleet.froe.prefix, "--log", "json", "--worker", self.name]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-")] if value is True else ["--" + name.replace("_", "-"), value]
        witness = [self.fleet.witness, self.fleet.folder, self.name, *self.fleet.takes]
        command = self.fleet.froe.command("run", *words, program=None if options.get("discard") else witness)
        self.running = Running(command, self.fleet.froe.env(), self.fleet.froe.folder, self.fleet.froe.patience)
        self.fleet.froe.all.append(self.running)
        self.said.append(self.running.err)
        return self

    @property
    def pid(self):
        return self.running.pid

    def alive(self):
        return self.running is not None and self.running.process.poll() is None

    def hears_signals(self):
        """One that has just been started is ended by a signal, as any process."""
        return b'"draining"' in self.running.err.read_bytes()

    def kill(self):
        self.running.kill()

    def stop(self, timeout=60):
        result = self.running.stop(timeout)
        assert result.code == DRAINED, result
        return result

    def log(self):
        """All that it ever said."""
        found = []
        for path in self.said:
            for line in path.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):  # the last line of one that was killed
                    found.append(json.loads(line))
        return found

    def told(self, *words):
        """Messages with one of the words."""
        return [line for line in self.log() if any(word in line["message"] for word in words)]

    def tree(self):
        """Pids: itself, its helper, its programs."""
        parents = collections.defaultdict(list)
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    parents[int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])].append(int(entry.name))
        found = [self.pid]
        for pid in found:
            found += parents[pid]
        return found

    def freeze(self, programs):
        """SIGSTOP, with its helper and its programs or without."""
        self.frozen = self.tree() if programs else [self.pid]
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in reversed(self.frozen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Fleet:
    def __init__(self, froe, server, postgres, schema, witness):
        self.froe, self.server, self.postgres, self.witness = froe, server, postgres, witness
        self.store = postgres.uri(schema)
        self.schema = schema
        self.folder = froe.folder / "witnessed"
        self.folder.mkdir()
        self.record = self.folder / "record"
        self.record.touch()
        self.takes = ["0"]  # see programs/witness.c
        self.options = {"slots": 10, "max_runs_per_bucket": 4, "cron": EVERY_SECOND, "lease": "2s"}
        self.workers = []
        self.everything = set()

    def fill(self, sizes):
        """{name without the prefix: how many}."""
        for name, n in sizes.items():
            bucket = self.froe.prefix + name
            if hasattr(self.server, "seed"):
                self.server.seed(bucket, n)
            else:
                self.add_bucket(name, n)
            self.everything |= {(bucket, f"object-{i:08d}") for i in range(n)}

    def add_bucket(self, name, n):
        """As fill, but all bodies are known and the same."""
        self.server.make_bucket(self.froe.prefix + name)
        self.add(name, (f"object-{i:08d}" for i in range(n)))

    def add(self, bucket, keys):
        bucket = self.froe.prefix + bucket
        keys = list(keys)
        self.server.raw.fill(bucket, ((key, b"x") for key in keys))
        self.everything |= {(bucket, key) for key in keys}

    def keep_busy(self, bucket):
        """To be called now and then while the fleet must not run out of work."""
        if len(self.everything) - self.number_ended() < 100:
            self.add(bucket, (f"later-{len(self.everything) + i}" for i in range(200)))

    def start(self, n):
        for _ in range(n):
            self.workers.append(Worker(self, f"w{len(self.workers)}").start())
        return self.workers

    def buckets(self):
        return sorted({bucket for bucket, _ in self.everything})

    def left(self):
        return {(bucket, key) for bucket in self.buckets() for key in self.server.keys(bucket)}

    def lines(self):
        found = []
        with open(self.record, encoding="utf-8") as record:
            for line in record:
                what, ms, pid, bucket, key, attempt, worker, in_bucket, in_worker, twice = line.split(" ")
                found.append(Line(what, int(ms), int(pid), bucket, urllib.parse.unquote(key), int(attempt), worker, int(in_bucket),
                                  int(in_worker), int(twice)))
        return found

    def begun(self):
        return [line for line in self.lines() if line.what == "begin"]

    def begun_once(self):
        """Nothing was lost, so nothing was to be done again."""
        seen, twice = {}, []
        for line in self.begun():
            if (line.bucket, line.key) in seen:
                twice.append((seen[line.bucket, line.key], line))
            seen[line.bucket, line.key] = line
        logs = "\n".join(f"{worker.name}: {line}" for worker in self.workers for line in worker.log() if line["level"] != "info")
        assert not twice, f"processed twice, though nothing was lost: {twice[:3]}\n{logs}"

    def ended(self):
        return [line for line in self.lines() if line.what == "end"]

    def in_hand(self, worker):
        """What its living programs are at."""
        lines = [line for line in self.lines() if line.worker == worker.name]
        ended = {line.pid for line in lines if line.what == "end"}
        return {(line.bucket, line.key) for line in lines if line.pid not in ended and os.path.exists(f"/proc/{line.pid}")}

    def number_ended(self):
        return sum(line.startswith("end") for line in open(self.record, encoding="utf-8"))

    def until(self, what, check, timeout=60, all_alive=True):
        end = time.monotonic() + timeout * self.froe.patience
        while True:
            found = check()
            if found:
                return found
            for worker in self.workers if all_alive else ():
                assert worker.alive(), f"{worker.name} ended while waiting for: {what}\n{worker.running.result()}"
            if time.monotonic() > end:
                tails = "\n".join(f"{worker.name}: {worker.log()[-5:]}" for worker in self.workers)
                raise AssertionError(f"not within {timeout * self.froe.patience} s: {what}\n{tails}")
            time.sleep(0.1)

    def until_drained(self, timeout=90, **more):
        # The record first: it costs the server nothing.
        self.until("all is processed and deleted", lambda: self.number_ended() >= len(self.everything) and not self.left(), timeout,
                   **more)

    def until_ended(self, more, timeout=60):
        want = self.number_ended() + more
        self.until(f"{more} more are processed", lambda: self.number_ended() >= want, timeout)

    def nothing_deleted_unprocessed(self):
        """To be called at any time. The listing is taken first: an end may come later, never a delete before it."""
        gone = self.everything - self.left()
        unprocessed = gone - {(line.bucket, line.key) for line in self.ended()}
        assert not unprocessed, f"{len(unprocessed)} deleted unprocessed: {sorted(unprocessed)[:5]}"

    def nothing_lost(self):
        """To be called at the end."""
        assert self.left() == set()
        assert {(line.bucket, line.key) for line in self.ended()} == self.everything
        assert self.parked() == []

    def caps_held(self, cap=None, slots=None):
        begun = self.begun()
        most = max(line.in_bucket for line in begun)
        by_worker = max(line.in_worker for line in begun)
        assert most <= (cap or self.options["max_runs_per_bucket"]), f"{most} of one bucket at once"
        assert by_worker <= (slots or self.options["slots"]), f"{by_worker} in one worker at once"
        twice = [line for line in begun if line.twice]
        assert not twice, f"two programs had the same object at once: {twice[:3]}"

    def stop(self):
        self.until("all would hear it", lambda: all(not worker.alive() or worker.hears_signals() for worker in self.workers),
                   all_alive=False)
        for worker in self.workers:
            if worker.alive():
                worker.running.signal(signal.SIGTERM)
        for worker in self.workers:
            if worker.running:
                result = worker.running.wait(60)
                assert result.code in (DRAINED, -signal.SIGKILL), result

    def ask(self, *words, expect=DRAINED):
        """A command that looks, on this store; its stdout."""
        command = self.froe.command(*words, "--store", self.store)
        done = subprocess.run(command, env=self.froe.env(), capture_output=True, text=True, timeout=30 * self.froe.patience, check=False)
        assert done.returncode == expect, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json_lines(self, *words):
        return [json.loads(line) for line in self.ask(*words, "--json").splitlines()]

    def parked(self):
        return self.json_lines("parked", "list")

    def status(self):
        return {bucket["bucket"]: bucket for bucket in json.loads(self.ask("status", "--json"))["buckets"]}

    def counted(self, again=0):
        """What the store counted agrees with what was seen: each object done once, late results not at all. An object that is
        deleted while its bucket is being listed makes a second run, which finds it gone."""
        done = sum(numbers["done"] for numbers in self.status().values())
        want = len(self.everything) + again
        gone = sum(line["message"] == "skipped: no such key" for worker in self.workers for line in worker.log())
        assert want <= done <= want + gone, f"{done} counted as done, there were {want}, and {gone} were found gone"


class Relay:
    """A TCP relay to PostgreSQL whose wire can be cut (nothing passes, nothing breaks) and joined again."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.passing, self.closed = threading.Event(), False
        self.passing.set()
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                if self.closed:
                    return
                continue
            self.sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self.passing.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.passing.clear()

    def join(self):
        self.passing.set()

    def close(self):
        self.closed = True
        self.join()
        for end in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="session")
def postgres():
    if lacking := postgresql.missing():
        pytest.skip(f"{lacking} is missing: scripts/deps check installs it")
    server = postgresql.Postgres()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def witness(tmp_path_factory):
    if not shutil.which("cc"):
        pytest.skip("cc, a C compiler for the program that counts, is missing")
    return build_witness(tmp_path_factory.mktemp("witness"))


@pytest.fixture
def fleet(froe, postgres, witness):
    """A fleet for the test's S3 server, in a schema of its own; it has no workers yet."""
    schema = f"froe_{secrets.token_hex(4)}"
    fleet = Fleet(froe, froe.server, postgres, schema, witness)
    yield fleet
    for worker in fleet.workers:
        if worker.alive():
            worker.thaw()
            worker.kill()
    postgres.revive()
    postgres.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

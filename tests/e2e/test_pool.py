"""The pool: workers that are kept. The examples in three languages, bad workers, and what is lost when somebody is killed: nothing."""
import collections
import contextlib
import gzip
import os
import pathlib
import random
import re
import shutil
import signal
import time
import urllib.parse

import pytest
from froe import DRAINED, PARKED, PROGRAMS, USAGE, kill, processes_of

ROOT = pathlib.Path(__file__).parents[2]


class Worker:
    def __init__(self, folder):
        self.log = folder / "worker-log"
        self.log.touch()

    def program(self, *behaviour):
        return ["/usr/bin/python3", PROGRAMS / "pool_worker.py", self.log, *behaviour]

    def said(self, what):
        return [line.split(" ")[1:] for line in self.log.read_text().splitlines() if line.startswith(what + " ")]

    def keys(self, what):
        return [urllib.parse.unquote(line[1]) for line in self.said(what)]

    def pids(self):
        return [int(pid) for [pid] in self.said("start")]

    def bodies_were_whole(self):
        """Each body that it saw has the MD5 that is its object's ETag."""
        bodies = self.said("body")
        assert all(md5 == etag for _, _, _, md5, etag, _ in bodies)
        return len(bodies)


@pytest.fixture
def worker(folder):
    return Worker(folder)


def fill(server, bucket, count, size=1024):
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"k/{i}", random.randbytes(size)) for i in range(count)))


# ---- the examples ----

def example(name, build):
    if name == "worker.js" and not shutil.which("node"):
        pytest.skip("node is missing: scripts/deps check installs it")
    if name.endswith(".c"):
        return pathlib.Path(build, "examples/pool_" + name.removesuffix(".c")).resolve()
    return ROOT / "examples/pool" / name


@pytest.mark.parametrize("name", ["worker.py", "worker.js", "worker.c", "memfd_worker.py", "memfd_worker.c"])
def test_examples(fake, froe, prefix, folder, request, name):
    program = example(name, request.config.getoption("--build"))
    fake.make_bucket(prefix + "1")
    sizes = {f"k/{i}": (0 if i == 0 else 300_000 if i % 100 == 0 else i) for i in range(1000)}
    fake.raw.fill(prefix + "1", ((key, b"\n" * size) for key, size in sizes.items()))
    # What it says goes to a file: a line for each object.
    froe.once("--pool", "--pool-body", "memfd" if "memfd" in name else "inline", "--max-runs-per-bucket", 0,
              program=["/bin/sh", "-c", f'exec "$0" 2>>{folder}/said', program], timeout=90)
    assert fake.keys(prefix + "1") == [] and froe.parked() == []
    said = (folder / "said").read_text()
    if name.endswith(".c"):
        seen = re.findall(r'^(\d+) bytes: .*"key":"(.*?)"', said, re.MULTILINE)
    else:
        seen = [(size, key) for _, key, size in re.findall(r"^(\S+) (\S+) (\d+)$", said, re.MULTILINE)]
    assert len(seen) == 1000 and {key: int(size) for size, key in seen} == sizes


def test_examples_are_short_and_the_page_shows_one():
    for name in ("worker.py", "worker.js", "worker.c", "gzip_worker.py"):
        lines = [line for line in (ROOT / "examples/pool" / name).read_text().splitlines() if line.strip()]
        assert len(lines) <= 30, name
    page = (ROOT / "docs/pool.md").read_text()
    assert (ROOT / "examples/pool/worker.py").read_text() in page
    for name, begin, end in (("py", "for line in", "    except"), ("c", "static int receive_body", "int main")):
        text = (ROOT / f"examples/pool/memfd_worker.{name}").read_text()
        assert text[text.index(begin):text.index(end)].strip() in page, name


@pytest.mark.core
@pytest.mark.parametrize("body", ["inline", "path", "memfd"])
def test_on_every_server(server, froe, prefix, worker, body):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    contents = {f"k/{i} \u00e4": random.randbytes(random.choice([0, 1, 5000, 70_000, 1 << 20])) for i in range(12)}
    for key, content in contents.items():
        server.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="x/y", Metadata={"color": "red"})
    froe.once("--pool", "--pool-workers", 3, "--pool-body", body, program=worker.program())
    assert server.keys(bucket) == [] and froe.parked() == []
    assert worker.bodies_were_whole() == 12 and sorted(worker.keys("done")) == sorted(contents)
    assert len(worker.pids()) <= 3
    for names in worker.said("env"):
        assert not [name for name in names if name.startswith(("AWS", "FROE"))], names


@pytest.mark.core
@pytest.mark.parametrize("level", ["no", "basic", "best-effort"])
def test_bodies_as_descriptors(fake, froe, prefix, folder, worker, level):
    """Small ones lie in memory as long as there is room, others in files; a worker has them and nothing else of froe's."""
    bucket, temporary = prefix + "1", folder / "tmp"
    temporary.mkdir()
    fake.make_bucket(bucket)
    sizes = [0, 1, 5000, 1 << 20, (3 << 20) + 1, 5 << 20] * 3
    fake.raw.fill(bucket, ((f"k/{i}", random.randbytes(size)) for i, size in enumerate(sizes)))
    froe.once("--pool", "--pool-workers", 3, "--pool-body", "memfd", "--memory", "3MiB", "--confine", level,
              *(["--allow-write", folder] if level == "best-effort" else []), program=worker.program(), env={"TMPDIR": temporary})
    assert fake.keys(bucket) == [] and froe.parked() == []
    assert worker.bodies_were_whole() == len(sizes) and sorted(worker.keys("done")) == sorted(f"k/{i}" for i in range(len(sizes)))
    # Its own three, the socket, the body; and the one by which it looks.
    assert {n for _, _, n in worker.said("descriptor")} == {"6"}
    where = collections.Counter(kind for kind, _, _ in worker.said("descriptor"))
    assert where["file"] >= 6 and where["memory"] >= 6, where
    assert list(temporary.iterdir()) == []


# ---- bad workers ----

@pytest.mark.core
def test_crashes_every_50th(fake, froe, prefix, worker):
    fill(fake, prefix + "1", 1000)
    result = froe.once("--pool", "--pool-workers", 2, "--backoff", "20ms", "--max-runs-per-bucket", 0,
                       program=worker.program("crash-every", 50), timeout=120)
    assert fake.keys(prefix + "1") == [] and froe.parked() == []
    assert set(worker.keys("done")) == {f"k/{i}" for i in range(1000)} and len(worker.keys("done")) == 1000
    # Each object is handed over once more for each crash. At the end two workers have had up to 49 of their 50.
    failed = result.said("attempt failed")
    crashes = len(failed)
    assert crashes in (19, 20) and worker.bodies_were_whole() == 1000 + crashes
    assert crashes <= len(worker.pids()) <= crashes + 2
    had = collections.Counter(body[-1] for body in worker.said("body"))
    assert max(had.values()) == 50 and sum(n == 50 for n in had.values()) == crashes
    assert all("killed by signal 9 (SIGKILL): about to crash" in line["error"] for line in failed)


@pytest.mark.core
@pytest.mark.parametrize("how, words", [
    ("crash", "SIGKILL"), ("garbage", "'hello'"), ("chatter", "'loading'"), ("huge", "64 KiB"), ("exit", "exit status 7"),
    ("wrong-id", "not for the object"), ("status", "none of ok, retry and fail"), ("close", "without an answer"),
    ("unread", "without having read the whole body"), ("unreceived", "without having received the body's descriptor"),
    ("hang", "timed out")])
def test_one_bad_object(fake, froe, prefix, worker, how, words):
    """It is parked with its reason, and the others are not held up."""
    fill(fake, prefix + "1", 40, 200_000 if how == "unread" else 1024)
    began = time.monotonic()
    timeout = 10 if how == "close" else 2  # one that closed its stdout is given 2 s to end
    body = "memfd" if how == "unreceived" else "inline"
    froe.once("--pool", "--pool-body", body, "--timeout", f"{timeout * froe.patience}s", "--retries", 1, "--backoff", "50ms",
              program=worker.program("bad", "k/7", how), expect=PARKED)
    assert time.monotonic() - began < 30 * froe.patience
    [one] = froe.parked()
    assert one["key"] == "k/7" and one["attempts"] == 2 and words in one["error"], one
    assert fake.keys(prefix + "1") == ["k/7"] and len(set(worker.keys("done")) - {"k/7"}) == 39


@pytest.mark.core
@pytest.mark.parametrize("how, attempts", [("retry", 2), ("fail", 2), ("final", 1)])
def test_verdicts(fake, froe, prefix, worker, how, attempts):
    fill(fake, prefix + "1", 20)
    froe.once("--pool", "--retries", 1, "--backoff", "50ms", program=worker.program("bad", "k/7", how), expect=PARKED)
    [one] = froe.parked()
    assert one["key"] == "k/7" and one["attempts"] == attempts and one["error"] == f"it is {how}", one
    assert fake.keys(prefix + "1") == ["k/7"]


def test_words_after_an_answer(fake, froe, prefix, worker):
    """They cost the worker its place, and no object anything."""
    fill(fake, prefix + "1", 20)
    result = froe.once("--pool", "--pool-workers", 1, "--retries", 0, program=worker.program("bad", "k/7", "after"))
    assert fake.keys(prefix + "1") == [] and sorted(worker.keys("done")) == sorted(f"k/{i}" for i in range(20))
    assert worker.bodies_were_whole() == 20  # each was handed over once
    assert result.said("attempt failed") == [] and len(worker.pids()) == 2


def test_dies_at_once(fake, froe, prefix):
    """What is deployed badly ends in parked objects with a reason, not in a storm of processes."""
    fill(fake, prefix + "1", 6)
    froe.once("--pool", "--retries", 0, program=["/bin/sh", "-c", "echo no such module >&2; exit 1"], expect=PARKED)
    assert len(fake.keys(prefix + "1")) == 6
    assert all("exit status 1: no such module" in one["error"] for one in froe.parked()) and len(froe.parked()) == 6


def test_cannot_be_run(fake, froe, prefix):
    fill(fake, prefix + "1", 1)
    result = froe.run("run", "--once", "--pool", program=["/no/such/worker"])
    assert result.code == USAGE and "/no/such/worker" in result.stderr
    assert froe.run("run", "--once", "--pool").code == USAGE


@pytest.mark.parametrize("options", [["--pool-recycle", 10], ["--pool-memory", "1MiB"], []])
def test_workers_are_replaced(fake, froe, prefix, worker, options):
    fill(fake, prefix + "1", 100)
    program = worker.program() if options else worker.program("exit-after", 10)
    froe.once("--pool", "--pool-workers", 2, *options, program=program)
    assert fake.keys(prefix + "1") == [] and len(worker.keys("done")) == 100
    assert len(worker.pids()) >= (100 if "--pool-memory" in options else 10)


@pytest.mark.core
@pytest.mark.parametrize("size", [1024, 3 << 20])
@pytest.mark.parametrize("body", ["inline", "path", "memfd"])
def test_bad_bodies_are_never_seen_whole(fake, froe, prefix, worker, size, body):
    fill(fake, prefix + "1", 3, size)
    fake.misbehave(f"badsum op=get where=body bucket={prefix}1")
    froe.once("--pool", "--pool-body", body, "--retries", 1, "--backoff", "50ms", program=worker.program(), expect=PARKED)
    assert worker.said("body") == [] and len(fake.keys(prefix + "1")) == 3
    fake.behave()
    froe.parked_do("retry", "--all")
    froe.once("--pool", "--pool-body", body, program=worker.program())
    assert worker.bodies_were_whole() == 3 and fake.keys(prefix + "1") == []


@pytest.mark.core
def test_slow_readers_hold_the_download_back(fake, froe, prefix, worker):
    """A big body is neither lost nor kept in memory while a worker takes its time."""
    fill(fake, prefix + "1", 4, 48 << 20)
    running = froe.start("run", "--once", "--pool", "--pool-workers", 4, program=worker.program("slow", 1))
    most = peak_of(running, froe)
    assert running.wait().code == DRAINED
    assert worker.bodies_were_whole() == 4 and fake.keys(prefix + "1") == []
    if froe.patience == 1:
        assert most < 64 << 10, f"{most} KiB"


# ---- results ----

def test_example_with_results(fake, froe, prefix, folder):
    fill(fake, prefix + "1", 30, 3000)
    bodies = {key: fake.body(prefix + "1", key) for key in fake.keys(prefix + "1")}
    out = folder / "out"
    out.mkdir()
    froe.once("--pool", "--output", f"{out}/{{key}}.gz", program=[ROOT / "examples/pool/gzip_worker.py"])
    assert {str(path.relative_to(out))[:-3]: gzip.decompress(path.read_bytes()) for path in out.rglob("*.gz")} == bodies
    assert fake.keys(prefix + "1") == []


@pytest.mark.core
@pytest.mark.parametrize("how, words", [
    ("short", "of the 1024 bytes of its results"), ("more", "more than the results that it had announced")])
def test_bad_results(fake, froe, prefix, folder, worker, how, words):
    fill(fake, prefix + "1", 20)
    out = folder / "out"
    out.mkdir()
    froe.once("--pool", "--output", f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms",
              program=worker.program("results", "bad", "k/7", how), expect=PARKED)
    [one] = froe.parked()
    assert one["key"] == "k/7" and one["attempts"] == 2 and words in one["error"], one
    assert fake.keys(prefix + "1") == ["k/7"]
    assert sorted(path.name for path in (out / "k").iterdir()) == sorted(str(i) for i in range(20) if i != 7)


def test_results_that_nobody_wants(fake, froe, prefix, worker):
    fill(fake, prefix + "1", 1)
    froe.once("--pool", "--retries", 0, program=worker.program("results"), expect=PARKED)
    assert "nowhere for it to go" in froe.parked()[0]["error"] and len(fake.keys(prefix + "1")) == 1


def peak_of(running, froe, look=lambda: None):
    """The most memory that it had resident, in KiB."""
    most = 0
    while running.process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
            most = max([most] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")])
            look()
        except OSError:
            pass
        time.sleep(0.02)
        assert time.monotonic() - running.began < 60 * froe.patience
    return most


@contextlib.contextmanager
def halted(running):
    """So that nothing moves while it is looked at, in none of its threads. OSError: it has just ended."""
    def stands():
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in pathlib.Path(f"/proc/{running.pid}/task").glob("*/stat")]
        return all(state in "TXZ" for state in states)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 60
        while not stands():
            assert time.monotonic() < end
            time.sleep(0.001)
        yield
    finally:
        os.kill(running.pid, signal.SIGCONT)


@pytest.mark.core
@pytest.mark.parametrize("handler", ["program", "pool"])
def test_results_stay_inside_the_budget(fake, froe, prefix, folder, worker, handler):
    """Of many at once those that there is no room for go into files without a name."""
    temporary, out, count = folder / "tmp", folder / "out", 60
    temporary.mkdir()
    out.mkdir()
    fake.make_bucket(prefix + "1")
    fake.seed(prefix + "1", count // 2, 700_000, "small-")
    fake.seed(prefix + "1", count - count // 2, 6_000_000, "large-")
    seen = {"memory": 0, "files": 0}

    def look():
        """What froe's descriptors hold at one moment: memory that has no name, and files that have none."""
        held = {"memory": 0, "files": 0}
        with halted(running):
            for fd in pathlib.Path(f"/proc/{running.pid}/fd").iterdir():
                name, about = os.readlink(fd), fd.stat()
                if name.startswith("/memfd:froe-spool"):
                    held["memory"] += about.st_blocks * 512
                elif name.startswith(str(temporary)):
                    held["files"] += about.st_size
        for what, n in held.items():
            seen[what] = max(seen[what], n)

    programs = {"program": (["cat"], []), "pool": (worker.program("results"), ["--pool", "--pool-workers", 4])}
    program, options = programs[handler]
    running = froe.start("run", "--once", "--slots", 16, "--max-runs-per-bucket", 0, "--memory", "3MiB", "--output", f"{out}/{{key}}",
                         *options, program=program, env={"TMPDIR": temporary})
    most = peak_of(running, froe, look)
    result = running.wait()
    assert result.code == DRAINED, result
    assert len(list(out.iterdir())) == count and fake.keys(prefix + "1") == []
    assert 0 < seen["memory"] <= 3 << 20 and seen["files"] > 0, seen
    assert list(temporary.iterdir()) == []
    if froe.patience == 1:
        assert most < 64 << 10, f"{most} KiB"


# ---- somebody is killed ----

def nothing_was_lost(server, bucket, worker, count):
    assert server.keys(bucket) == []
    assert set(worker.keys("body")) == {f"k/{i}" for i in range(count)}
    worker.bodies_were_whole()


def test_workers_are_killed(fake, froe, prefix, worker):
    fill(fake, prefix + "1", 400)
    running = froe.start("run", "--once", "--pool", "--pool-workers", 4, "--retries", 50, "--backoff", "10ms",
                         program=worker.program("sleep", 0.03))
    kills = 0
    while running.process.poll() is None and time.monotonic() - running.began < 60 * froe.patience:
        alive = [pid for pid, _ in processes_of(str(worker.log)) if pid in worker.pids()]
        if alive and kills < 30:
            kills += kill(random.choice(alive))
        time.sleep(0.05)
    assert running.wait().code == DRAINED and kills >= 10
    nothing_was_lost(fake, prefix + "1", worker, 400)
    assert froe.parked() == []


@pytest.mark.core
@pytest.mark.parametrize("body", ["inline", "path", "memfd"])
def test_froe_is_killed(fake, froe, prefix, folder, worker, body):
    fill(fake, prefix + "1", 300, 100_000)
    temporary = folder / "tmp"
    temporary.mkdir()
    options = ["run", "--once", "--pool", "--pool-body", body, "--pool-workers", 3]
    for _ in range(4):
        done = len(worker.keys("done"))
        running = froe.start(*options, program=worker.program("sleep", 0.005), env={"TMPDIR": temporary})
        running.until("some are done", lambda: len(worker.keys("done")) >= done + 20)
        running.kill()
        for _ in range(200):
            if not processes_of(str(worker.log)):
                break
            time.sleep(0.02)
        assert processes_of(str(worker.log)) == []
    result = froe.run(*options, program=worker.program(), env={"TMPDIR": temporary})
    assert result.code == DRAINED, result
    nothing_was_lost(fake, prefix + "1", worker, 300)
    assert worker.said("short") == [] and list(temporary.iterdir()) == []


@pytest.mark.core
def test_stops_when_asked(fake, froe, prefix, worker):
    fill(fake, prefix + "1", 50)
    running = froe.start("run", "--pool", "--pool-workers", 2, program=worker.program("sleep", 0.05))
    running.until("some are done", lambda: len(worker.keys("done")) >= 5)
    assert running.stop().code == DRAINED
    assert processes_of(str(worker.log)) == []
    done = len(set(worker.keys("done")))
    assert len(fake.keys(prefix + "1")) == 50 - done

"""What froe says about itself: status, check, help, versions, logs."""
import json
import os
import socket
import stat
import time

import pytest
from froe import DRAINED, NO_CREDENTIALS, PARKED, STORE, UNREACHABLE

BUCKET_FIELDS = {"bucket", "backlog", "admitted", "max_runs", "running", "waiting", "parked", "done", "failed", "last_granted_at",
                 "cursor", "listing", "deletes", "throttled", "limit", "skipped", "results", "result_bytes"}


@pytest.mark.core
def test_status_while_it_runs(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.make_bucket(prefix + "2")
    server.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(12)))
    server.raw.put(prefix + "2", "bad", b"x")
    running = froe.start("run", "--slots", 4, "--max-runs-per-bucket", 2, "--backoff", "1h",
                         program=froe.recorder("slow", "k*", "3", "fail", "bad", 1))
    running.until("it works", lambda: len(froe.record.begun()) >= 3)
    running.until("the listing is complete and the bad one waits", lambda: (froe.status_of(prefix + "2") or {}).get("waiting") == 1
                  and froe.status_of(prefix + "1")["running"] == 2)
    status = froe.status()
    assert status["running"] is True and status["pid"] == running.pid and status["slots"] == 4
    assert status["version"] and str(froe.store) in status["store"]
    assert [bucket["bucket"] for bucket in status["buckets"]] == [prefix + "1", prefix + "2"]
    for bucket in status["buckets"]:
        assert set(bucket) == BUCKET_FIELDS
        assert set(bucket["skipped"]) == {"archived", "marker", "excluded", "too_young", "no_rule", "kept"}
    one, two = status["buckets"]
    assert one["running"] == 2 and one["listing"] == "complete" and not one["throttled"] and one["limit"] is None
    assert one["backlog"] + one["done"] == 12 and one["parked"] == 0
    assert two["failed"] == 1 and two["waiting"] == 1 and two["parked"] == 0
    text = froe.run("status")
    assert text.code == DRAINED and prefix + "1" in text.stdout
    socket_mode = os.stat(f"{froe.store}.sock").st_mode
    assert stat.S_ISSOCK(socket_mode) and socket_mode & 0o777 == 0o600
    running.stop()
    assert not os.path.exists(f"{froe.store}.sock")


def test_status_when_nothing_runs(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.raw.fill(prefix + "1", ((key, b"x") for key in ("a", "bad")))
    froe.once("--retries", 0, program=froe.recorder("fail", "bad", 1), expect=PARKED)
    status = froe.status()
    assert status["running"] is False and status["pid"] is None and status["slots"] is None
    [bucket] = status["buckets"]
    assert set(bucket) == BUCKET_FIELDS
    assert (bucket["done"], bucket["parked"], bucket["running"], bucket["backlog"]) == (1, 1, 0, 0)


def test_status_after_a_kill(fake, froe, prefix):
    """The socket's file is left behind; nobody is deceived by it."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(3)))
    running = froe.start("run", program=froe.recorder("sleep", 20))
    running.until("it works", lambda: len(froe.record.begun()) == 3)
    running.kill()
    status = running_free(froe)
    assert status["running"] is False and status["buckets"][0]["backlog"] == 3
    froe.once(program=froe.recorder())
    assert fake.keys(prefix + "1") == []


def running_free(froe, seconds=5):
    """The store is free once the last program of the killed froe is dead, which takes a moment."""
    end = time.monotonic() + seconds * froe.patience
    while True:
        result = froe.run("status", "--json")
        if result.code == DRAINED:
            return json.loads(result.stdout)
        assert time.monotonic() < end, result
        time.sleep(0.05)


def test_status_of_no_store(froe, fake):
    result = froe.run("status", "--json")
    assert result.code in (DRAINED, STORE), result
    assert not froe.store.exists(), "looking made a store"


def test_a_silent_client_of_the_socket_does_no_harm(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    running = froe.start("run", "--discard", "--cron", "* * * * * *")
    running.until("it is up", lambda: os.path.exists(f"{froe.store}.sock"))
    held = []
    for text in (b"", b"{", b"\0" * 100, b"x" * 100000, b'{"op":"nonsense"}\n', b"[]\n", b"\n" * 1000, b'{"op":5}\n'):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(2)
        one.connect(f"{froe.store}.sock")
        try:
            one.sendall(text)
        except OSError:
            pass
        held.append(one)
    assert froe.status()["running"]
    fake.raw.put(prefix + "1", "k", b"x")
    running.until("it still drains", lambda: not fake.keys(prefix + "1"))
    for one in held:
        one.close()
    assert running.stop().code == DRAINED


def test_check(server, froe, prefix):
    server.make_bucket(prefix + "1")
    if "versioning" in server.can:
        server.make_bucket(prefix + "2", versioning="Enabled")
    server.raw.put(prefix + "1", "k", b"x")
    result = froe.run("check")
    assert result.code == DRAINED, result
    assert prefix + "1" in result.stdout
    assert server.keys(prefix + "1") == ["k"], "a check touches nothing"
    if "versioning" in server.can:
        assert prefix + "2" in result.stdout and server.versions(prefix + "2") == []
    json.loads(froe.run("check", "--json").stdout)


def test_check_finds_what_would_go_wrong(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    fake.misbehave(f"deny access={fake.access_key} action=s3:ListBucket bucket={prefix}1")
    result = froe.run("check")
    assert result.code != DRAINED and prefix + "1" in result.stdout + result.stderr, result
    fake.behave()
    assert froe.run("check", env={"AWS_SECRET_ACCESS_KEY": "wrong"}).code == NO_CREDENTIALS
    assert froe.run("check", env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).code == UNREACHABLE


def test_help_and_version(froe, fake):
    for words in (["help"], ["--help"], ["run", "--help"], ["help", "run"], ["version"], ["help", "parked"], ["status", "--help"]):
        result = froe.run(*words, plain=True)
        assert result.code == DRAINED and result.stdout and not result.stderr, (words, result)
    text = froe.run("run", "--help", plain=True).stdout
    for option in ("--bucket-prefix", "--max-pollers", "--max-runs-per-bucket", "--slots", "--cron", "--store", "--retries", "--timeout",
                   "--backoff", "--min-age", "--include", "--exclude", "--look-ahead", "--once", "--dry-run", "--discard", "--log",
                   "--log-level", "S3_WORKER_BUCKET_PREFIX", "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS",
                   "S3_WORKER_MAX_RUNS_PER_BUCKET", "S3_WORKER_SLOTS", "S3_WORKER_CRON", "FROE_STORE", "FROE_RETRIES"):
        assert option in text, option
    assert froe.run("version", plain=True).stdout.strip()


def test_help_to_a_full_disk(froe, fake):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    import subprocess
    with open("/dev/full", "wb") as full:
        done = subprocess.run(froe.command("run", "--help"), stdout=full, stderr=subprocess.PIPE, env=froe.env(), timeout=20, check=False)
    assert done.returncode != 0


def test_log_as_text(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.raw.put(prefix + "1", "a\nforged line", b"x") if server.name != "moto" else server.raw.put(prefix + "1", "a", b"x")
    result = froe.run("run", "--once", "--retries", 0, "--log", "text", "--log-level", "debug", program=["false"])
    assert result.code == PARKED
    assert "\nforged line" not in result.stderr
    assert not any(line.startswith("{") for line in result.stderr.splitlines())


def test_log_level(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.raw.put(prefix + "1", "k", b"x")
    result = froe.once("--discard", "--log-level", "error")
    assert result.stderr == ""


def test_every_log_line_is_json(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(3)))
    result = froe.once("--log-level", "debug", "--retries", 1, "--backoff", "10ms", program=["false"], expect=PARKED)
    for line in result.stderr.splitlines():
        one = json.loads(line)
        assert one["time"].endswith("Z") and one["level"] in ("debug", "info", "warn", "error") and one["message"]


@pytest.mark.timeout(180)
def test_demo(froe, fake, folder):
    """Needs nothing around it and leaves nothing behind."""
    before = sorted(os.listdir(folder)), sorted(os.listdir(froe.home))
    result = froe.run("demo", plain=True, timeout=150, env={"AWS_ENDPOINT_URL": None, "AWS_ACCESS_KEY_ID": None, "AWS_REGION": None,
                                                             "AWS_SECRET_ACCESS_KEY": None, "TMPDIR": folder / "home"})
    assert result.code == DRAINED, result
    after = [name for name in sorted(os.listdir(folder)) if not name.startswith("froe-")], sorted(os.listdir(froe.home))
    assert after == ([name for name in before[0] if not name.startswith("froe-")], before[1])


def test_on_a_terminal(fake, froe, prefix):
    """Live progress per bucket, and a summary in the end, in a window of its own size."""
    import fcntl
    import pty
    import struct
    import subprocess
    import termios
    for i in range(3):
        fake.seed(f"{prefix}{i}", 40 * (i + 1))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", prefix, "--slots", 4,
                           program=froe.recorder("sleep", "0.05"))
    process = subprocess.Popen(command, env=froe.env(TERM="xterm"), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                               start_new_session=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # that is how the end of a terminal looks
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(30) == DRAINED, shown
    text = shown.decode(errors="replace")
    assert "drained" in text and "240" in text
    for i in range(3):
        assert f"{prefix}{i}" in text, text
    assert "\x1b" in text  # something was redrawn

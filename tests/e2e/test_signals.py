"""Stopping: the first signal finishes what runs, the second stops now, kill -9 leaves nothing behind; nothing is lost."""
import signal
import time

import pytest
from froe import DRAINED, INTERRUPTED, processes_of


def start_slow(server, froe, prefix, *args, seconds=2, n=10):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"k{i}", b"x") for i in range(n)))
    running = froe.start("run", *args, "--slots", 3, program=froe.recorder("sleep", seconds * froe.patience))
    running.until("three are at work", lambda: len(froe.record.begun()) >= 3)
    return bucket, running


@pytest.mark.core
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_finishes_what_runs(server, froe, prefix, number):
    bucket, running = start_slow(server, froe, prefix)
    running.signal(number)
    result = running.wait(30)
    assert result.code == DRAINED, result
    assert len(froe.record.begun()) == len(froe.record.ended()) == 3
    assert len(server.keys(bucket)) == 7  # finished means deleted too
    froe.once(program=froe.recorder())
    assert server.keys(bucket) == [] and len(froe.record.begun()) == 10


@pytest.mark.core
def test_second_signal_stops_now(server, froe, prefix):
    bucket, running = start_slow(server, froe, prefix, seconds=30)
    running.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.process.poll() is None
    running.signal(signal.SIGTERM)
    began = time.monotonic()
    result = running.wait(20)
    assert time.monotonic() - began < 10
    assert result.code == INTERRUPTED, result
    assert froe.record.ended() == [] and len(server.keys(bucket)) == 10
    assert processes_of(str(froe.record.path)) == []
    # What was stopped has no attempt counted against it.
    froe.once("--retries", 0, program=froe.recorder())
    assert server.keys(bucket) == []
    assert {attempt for what, _, _, _, attempt in froe.record.lines() if what == "end"} == {"1"}


def test_once_that_is_cut_short(server, froe, prefix):
    bucket, running = start_slow(server, froe, prefix, "--once")
    running.signal(signal.SIGINT)
    result = running.wait(30)
    assert result.code == INTERRUPTED, result
    assert len(server.keys(bucket)) == 7


def test_idle_froe_stops_at_once(server, froe, prefix):
    running = froe.start("run", "--discard")
    running.until("it is up", froe.is_up)
    began = time.monotonic()
    assert running.stop().code == DRAINED
    assert time.monotonic() - began < 10


def test_signal_right_at_the_start(server, froe, prefix):
    server.make_bucket(prefix + "1")
    server.raw.put(prefix + "1", "k", b"x")
    for wait in (0, 0.005, 0.01, 0.02, 0.05, 0.1):
        running = froe.start("run", program=froe.recorder())
        time.sleep(wait)
        running.signal(signal.SIGTERM)
        # Before its handler is in place the signal's default action is right as well.
        assert running.wait(20).code in (DRAINED, -signal.SIGTERM)
    froe.once(program=froe.recorder())
    assert server.keys(prefix + "1") == []


@pytest.mark.core
def test_waiting_retries_do_not_hold_up_the_end(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    running = froe.start("run", "--backoff", "1h", program=["false"])
    running.until("it waits", lambda: (froe.status_of(prefix + "1") or {}).get("waiting") == 1)
    assert running.stop(20).code == DRAINED
    assert froe.status_of(prefix + "1")["waiting"] == 1  # kept for the next froe


@pytest.mark.core
def test_kill_9_takes_the_programs_along(server, froe, prefix):
    bucket, running = start_slow(server, froe, prefix, seconds=60)
    running.kill()
    end = time.monotonic() + 5 * froe.patience
    while processes_of(str(froe.record.path)):
        assert time.monotonic() < end, processes_of(str(froe.record.path))
        time.sleep(0.02)
    assert len(server.keys(bucket)) == 10
    froe.record.mark()
    froe.once(program=froe.recorder())
    assert server.keys(bucket) == []
    froe.record.most_at_once()


def test_froe_whose_terminal_closes(server, froe, prefix):
    """SIGHUP stops like the others, or is not heeded; it does not lose anything."""
    bucket, running = start_slow(server, froe, prefix, "--once", seconds=1)
    running.signal(signal.SIGHUP)
    running.wait(60)
    froe.record.mark()
    froe.once(program=froe.recorder())
    assert server.keys(bucket) == []


def test_stdout_closes(server, froe, prefix):
    """`froe run ... | head`: a program that dies of SIGPIPE is a failed attempt; froe itself goes on."""
    import subprocess
    server.make_bucket(prefix + "1")
    server.raw.fill(prefix + "1", ((f"k{i}", b"text " * 5000) for i in range(3)))
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", prefix, "--log", "json",
                           "--retries", 0, program=["cat"])
    process = subprocess.Popen(command, env=froe.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, said = process.communicate(timeout=60 * froe.patience)
    assert process.returncode == 6, said
    assert len(server.keys(prefix + "1")) == 3

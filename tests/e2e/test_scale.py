"""Fairness, deduplication, and kill -9: what only shows with thousands of objects and over time."""
import os
import pathlib
import random
import signal
import sqlite3
import time

import pytest
from froe import DRAINED, kill, processes_of
from postgres import parent_of

pytestmark = pytest.mark.slow


def fill(fake, sizes):
    """Keys object-00000000 and on."""
    for bucket, n in sizes.items():
        fake.seed(bucket, n)


@pytest.mark.timeout(300)
def test_fairness(fake, froe, prefix):
    """Buckets of 20000, 200 and 20: the small ones finish as if they were alone. With rotation each of three buckets with
    work gets every third turn, so the last of a bucket of n is among the first 3 n or so to begin."""
    # The giant comes first by name, so that it is listed first too.
    giant, middle, small = prefix + "a-giant", prefix + "b-middle", prefix + "c-small"
    fill(fake, {giant: 20000, middle: 200, small: 20})
    slots = 8
    running = froe.start("run", "--once", "--slots", slots, "--max-runs-per-bucket", 0, program=froe.recorder())

    def both_small_ones_done():
        ended = froe.record.ended()
        return sum(bucket == small for bucket, _ in ended) == 20 and sum(bucket == middle for bucket, _ in ended) == 200
    running.until("the small buckets are drained", both_small_ones_done, timeout=120)
    order = [bucket for bucket, _ in froe.record.begun()]
    last = {bucket: max(i for i, b in enumerate(order) if b == bucket) for bucket in (middle, small)}
    began = order.index(small)
    # From when all three have work. A few turns more than the ideal are allowed for what was running at the time.
    assert began < 20 * slots, f"the small bucket waited for {began} others before its first"
    assert last[small] - began < 3 * 20 + 2 * slots, f"{last[small] - began} began while 20 of the small one had to"
    begun_middle = order.index(middle)
    assert last[middle] - begun_middle < 3 * 200 + 2 * slots, f"{last[middle] - begun_middle} began while 200 of the middle one had to"
    running.signal(signal.SIGTERM)
    running.signal(signal.SIGTERM)
    running.wait()


@pytest.mark.timeout(300)
def test_fairness_under_a_cap(fake, froe, prefix):
    """The same with a cap per bucket: the giant never takes more than its share of the slots, though it could use all."""
    giant, small = prefix + "a-giant", prefix + "b-small"
    fill(fake, {giant: 3000, small: 60})
    running = froe.start("run", "--once", "--slots", 6, "--max-runs-per-bucket", 4, program=froe.recorder("sleep", "0.02"))
    running.until("the small one is drained", lambda: sum(bucket == small for bucket, _ in froe.record.ended()) == 60, timeout=120)
    order = [bucket for bucket, _ in froe.record.begun()]
    began, last = order.index(small), max(i for i, bucket in enumerate(order) if bucket == small)
    assert last - began < 3 * 60 + 20
    _, by_bucket = froe.record.most_at_once()
    assert max(by_bucket.values()) <= 4
    running.kill()


@pytest.mark.timeout(180)
def test_giant_does_not_hold_up_listing(fake, froe, prefix):
    """All slots are busy with one bucket's slow objects; a bucket made then is still listed and served in its turn."""
    giant, late = prefix + "a", prefix + "b"
    fill(fake, {giant: 500})
    running = froe.start("run", "--cron", "* * * * * *", "--slots", 3, program=froe.recorder("sleep", "1"))
    running.until("it works", lambda: len(froe.record.begun()) >= 3)
    fake.make_bucket(late)
    fake.raw.put(late, "k", b"x")
    before = len(froe.record.begun())
    running.until("the late one is done", lambda: (late, "k") in froe.record.ended(), timeout=30)
    assert len(froe.record.begun()) - before < 30
    running.signal(signal.SIGTERM)
    running.signal(signal.SIGTERM)
    running.wait()


@pytest.mark.core
@pytest.mark.timeout(180)
@pytest.mark.parametrize("look_ahead", [10000, 40])
def test_dedup(fake, froe, prefix, look_ahead):
    """A look-ahead full of slow objects over many ticks, each of which lists them again: not one runs twice."""
    sizes = {prefix + "1": 120, prefix + "2": 60}
    fill(fake, sizes)
    running = froe.start("run", "--cron", "* * * * * *", "--slots", 20, "--look-ahead", look_ahead, program=froe.recorder("sleep", "2"))
    running.until("all is drained", lambda: not fake.keys(prefix + "1") and not fake.keys(prefix + "2"), timeout=120)
    assert running.stop().code == DRAINED
    begun = froe.record.begun()
    assert len(begun) == len(set(begun)) == 180
    assert len(froe.record.ended()) == 180


@pytest.mark.timeout(120)
def test_dedup_over_a_restart(fake, froe, prefix):
    """What is queued when froe stops is not queued a second time by the next one's listing."""
    fill(fake, {prefix + "1": 50})
    running = froe.start("run", "--slots", 5, program=froe.recorder("sleep", "1"))
    running.until("it works", lambda: len(froe.record.begun()) >= 5)
    running.stop()
    froe.once("--slots", 20, program=froe.recorder("sleep", "1"))
    begun = froe.record.begun()
    assert len(begun) == len(set(begun)) == 50


@pytest.mark.core
@pytest.mark.timeout(600)
def test_kill_9(fake, froe, prefix, patience):
    """Killed at random moments, again and again, with buckets of very different sizes and a program that writes down what it
    sees. Nothing is deleted that was not processed, everything is processed in the end, caps hold across the restarts, no
    program outlives its froe, and each restart goes on by itself."""
    kills = 60 if patience == 1 else 8
    rng = random.Random(os.environ.get("SEED") or time.time_ns())
    sizes = {prefix + "a": 1500, prefix + "b": 450, prefix + "c": 120, prefix + "d": 25, prefix + "e": 5}
    if patience > 1:
        sizes = {bucket: n // 5 for bucket, n in sizes.items()}
    fill(fake, sizes)
    everything = {(bucket, f"object-{i:08d}") for bucket, n in sizes.items() for i in range(n)}
    slots, cap = 12, 5
    options = ["--slots", slots, "--max-runs-per-bucket", cap, "--retries", 3]
    program = froe.recorder("sleep", "0.03", "slow", "*7", "0.3")
    later = 0

    def left():
        return {(bucket, key) for bucket in sizes for key in fake.keys(bucket)}

    for number in range(kills):
        mode = ["--once"] if rng.random() < 0.5 else ["--cron", "* * * * * *"]
        froe.record.mark()
        running = froe.start("run", *mode, *options, program=program)
        time.sleep(rng.choice([rng.random() * 0.1, rng.random() * 0.5, rng.random() * 0.5, rng.random()]) * patience)
        assert running.process.poll() in (None, DRAINED), running.result()
        running.kill()
        # What is gone was processed. The listing is taken first: an "end" may come later, never a delete before it.
        gone = everything - left()
        ended = set(froe.record.ended())
        assert gone <= ended, f"kill {number}: deleted unprocessed: {sorted(gone - ended)[:5]}"
        if len(everything) - len(gone) < 200:
            # Enough to do for every kill that is still to come.
            fake.raw.fill(prefix + "a", ((f"later-{later + i}", b"x") for i in range(300)))
            everything |= {(prefix + "a", f"later-{later + i}") for i in range(300)}
            later += 300
    froe.record.mark()
    result = froe.once(*options, program=program, timeout=200)
    assert left() == set(), result
    assert set(froe.record.ended()) == everything
    assert froe.parked() == []
    most, by_bucket = froe.record.most_at_once()
    assert most <= slots and max(by_bucket.values()) <= cap, (most, by_bucket)
    print(f"{len(everything)} objects, {kills} kills, {len(froe.record.begun())} runs begun, at most {most} at once, {by_bucket}")
    # At least once, and not much more: only what was running at a kill ran again.
    assert len(froe.record.begun()) <= len(everything) + kills * slots
    assert processes_of(str(froe.record.path)) == []
    database = sqlite3.connect(froe.store)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest.mark.timeout(300)
def test_kill_9_of_the_spawner(fake, froe, prefix):
    """The helper that starts programs is killed instead: froe says so and ends, or goes on with another; nothing is lost."""
    fill(fake, {prefix + "1": 60})
    running = froe.start("run", "--once", "--slots", 4, program=froe.recorder("sleep", "0.2"))
    running.until("it works", froe.record.begun)
    helpers = [pid for pid, _ in processes_of("__spawner") if parent_of(pathlib.Path(f"/proc/{pid}/stat")) == running.pid]
    assert len(helpers) == 1
    assert kill(helpers[0])
    running.wait(60)
    froe.record.mark()
    froe.once(program=froe.recorder())
    assert fake.keys(prefix + "1") == [] and len(set(froe.record.ended())) == 60


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["latency op=get ms=0", "latency op=get ms=5000", "stall op=get after=1 count=3"],
                         ids=["at-work", "answers-come-meanwhile", "programs-wait"])
def test_stopped_for_longer_than_its_leases(fake, froe, prefix, tmp_path, fault):
    """SIGSTOP for a while, as when a laptop sleeps: it goes on or gives its runs back, and no object runs twice at once.
    Programs that wait for their input meanwhile are killed, and have no end, when their leases are over."""
    fill(fake, {prefix + "1": 40})
    fake.misbehave(fault)
    locks = tmp_path / "locks"
    locks.mkdir()
    running = froe.start("run", "--once", "--slots", 4, program=froe.recorder("alone", locks, "sleep", "0.5"))
    if "ms=5000" in fault:
        running.until("it asks", lambda: fake.stats()["requests"].get("get", 0) >= 4)
    else:
        running.until("it works", froe.record.begun)
    running.signal(signal.SIGSTOP)
    time.sleep(35)
    fake.behave()
    running.signal(signal.SIGCONT)
    result = running.wait(100)
    assert result.code == DRAINED, result
    assert fake.keys(prefix + "1") == [] and froe.parked() == []
    assert froe.record.twice() == [] and set(froe.record.ended()) == set(froe.record.begun())
    assert result.said("attempt failed") == []  # none of it was an object's fault


@pytest.mark.timeout(600)
def test_a_lot(fake, froe, prefix):
    """50000 objects through the plainest path, in bounded memory."""
    fill(fake, {f"{prefix}{i}": n for i, n in enumerate((30000, 12000, 5000, 2500, 500))})
    result = froe.once("--discard", timeout=300)
    assert result.said("drained")[0]["objects"] == 50000
    assert not any(fake.keys(f"{prefix}{i}") for i in range(5))

"""Attempts, parking, and the state `processed but not deleted`."""
import time

import pytest
from froe import DRAINED, PARKED


def attempts(froe, key):
    return [int(attempt) for what, _, _, k, attempt in froe.record.lines() if what == "begin" and k == key]


@pytest.mark.core
def test_poison_parks_and_blocks_nothing(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"{name}-{i}", b"x") for i in range(10) for name in ("good", "poison")))
    result = froe.once("--retries", 2, "--backoff", "100ms", "--slots", 4, program=froe.recorder("fail", "poison*", 3),
                       expect=PARKED)
    assert sorted(server.keys(bucket)) == sorted(f"poison-{i}" for i in range(10))
    for i in range(10):
        assert attempts(froe, f"poison-{i}") == [1, 2, 3]
        assert attempts(froe, f"good-{i}") == [1]
    parked = froe.parked()
    assert sorted(one["key"] for one in parked) == sorted(f"poison-{i}" for i in range(10))
    for one in parked:
        assert one["bucket"] == bucket and one["attempts"] == 3
        assert "told to fail with 3" in one["error"]  # the program's own words
    summary = result.said("drained")[0]
    assert summary["objects"] == 10 and summary["parked"] == 10 and summary["failed_attempts"] == 30
    status = froe.status_of(bucket)
    assert status["parked"] == 10 and status["done"] == 10 and status["failed"] == 30 and status["backlog"] == 0
    # Parked ones are not tried again by a later run.
    froe.once("--backoff", "100ms", program=froe.recorder(), expect=PARKED)
    assert attempts(froe, "poison-0") == [1, 2, 3]


@pytest.mark.core
def test_parked_retry_after_mending(server, froe, prefix, folder):
    bucket, cause = prefix + "1", folder / "cause"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"k{i}", b"x") for i in range(5)))
    cause.touch()
    program = froe.recorder("while", cause, 1)
    froe.once("--retries", 0, program=program, expect=PARKED)
    assert len(froe.parked()) == 5
    cause.unlink()
    assert froe.parked_do("retry", "--bucket", bucket, "--key", "k3") == 1
    froe.once("--retries", 0, program=program, expect=PARKED)
    assert sorted(server.keys(bucket)) == ["k0", "k1", "k2", "k4"]
    assert froe.parked_do("retry", "--all") == 4
    froe.once("--retries", 0, program=program)
    assert server.keys(bucket) == [] and froe.parked() == []
    assert attempts(froe, "k3") == [1, 1]  # counted afresh


def test_parked_retry_while_froe_runs(server, froe, prefix, folder):
    bucket, cause = prefix + "1", folder / "cause"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"k{i}", b"x") for i in range(3)))
    cause.touch()
    running = froe.start("run", "--retries", 0, "--cron", "* * * * * *", program=froe.recorder("while", cause, 1))
    running.until("all are parked", lambda: len(froe.parked()) == 3)
    cause.unlink()
    time.sleep(1.5)  # ticks pass, and leave them alone
    assert len(server.keys(bucket)) == 3
    assert froe.parked_do("retry", "--bucket", bucket) == 3
    running.until("they are drained", lambda: server.keys(bucket) == [])
    assert froe.parked() == []
    assert running.stop().code == DRAINED


def test_parked_drop(server, froe, prefix):
    """Forgets; the object stays, and so is found anew by the next listing."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((f"k{i}", b"x") for i in range(3)))
    froe.once("--retries", 0, program=["false"], expect=PARKED)
    head, *lines = froe.run("parked", "list").stdout.splitlines()
    assert head.split() == ["RUN", "PARKED", "TRY", "OBJECT"] and sum(line.endswith("/k1") for line in lines) == 1
    assert froe.parked_do("drop", "--bucket", prefix + "other") == 0
    assert froe.parked_do("drop", "--bucket", bucket, "--key", "k0") == 1
    assert froe.parked_do("drop", "--all") == 2
    assert froe.parked() == [] and len(server.keys(bucket)) == 3
    froe.once(program=froe.recorder())
    assert attempts(froe, "k0") == [1] and server.keys(bucket) == []


def test_parked_says_what_it_wants(froe, fake):
    for verb in ("retry", "drop"):
        result = froe.run("parked", verb)
        assert result.code == 2 and "--all" in result.stderr, result
    assert froe.run("parked", "mend").code == 2


def test_uploaded_again_after_parking(server, froe, prefix):
    """Another generation of a parked key is processed without anybody asking, its attempts counted from one."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.put(bucket, "k", b"bad")
    server.raw.put(bucket, "other", b"bad")
    froe.once("--retries", 1, "--backoff", "50ms", program=froe.recorder("fail", "*", 1), expect=PARKED)
    [generation] = {one["generation"] for one in froe.parked() if one["key"] == "k"}
    server.raw.put(bucket, "k", b"mended")
    froe.once(program=froe.recorder(), expect=PARKED)
    assert attempts(froe, "k") == [1, 2, 1]
    assert server.keys(bucket) == ["other"]
    assert [one["key"] for one in froe.parked()] == ["other"]
    assert generation


def test_exit_75_asks_for_another_try(server, froe, prefix, folder):
    bucket, cause = prefix + "1", folder / "cause"
    server.make_bucket(bucket)
    server.raw.put(bucket, "k", b"x")
    cause.touch()
    running = froe.start("run", "--once", "--backoff", "200ms", "--retries", 20, program=froe.recorder("while", cause, 75))
    running.until("two tries", lambda: len(froe.record.begun()) >= 2)
    cause.unlink()
    result = running.wait()
    assert result.code == DRAINED, result
    assert server.keys(bucket) == []


def test_backoff_doubles(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"x")
    began = time.monotonic()
    froe.once("--retries", 3, "--backoff", "400ms", program=["false"], expect=PARKED)
    # 0.4 + 0.8 + 1.6 s, of which half is jitter.
    assert 1.4 <= time.monotonic() - began


def test_attempts_are_kept_over_a_restart(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"x")
    running = froe.start("run", "--retries", 2, "--backoff", "6s", program=froe.recorder("fail", "*", 1))
    running.until("a first attempt failed", lambda: froe.status_of(bucket) and froe.status_of(bucket)["waiting"] == 1)
    running.kill()
    froe.once("--retries", 2, "--backoff", "50ms", program=froe.recorder("fail", "*", 1), expect=PARKED)
    assert attempts(froe, "k") == [1, 2, 3]
    assert froe.parked()[0]["attempts"] == 3


@pytest.mark.core
@pytest.mark.parametrize("order", ["error op=delete status=500", "error op=delete status=403 code=AccessDenied", "reset op=delete",
                                   "error op=delete status=503 code=SlowDown"])
def test_delete_that_fails_runs_no_program_again(fake, froe, prefix, order):
    """Processed but not deleted is a state of its own."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((f"k{i}", b"x") for i in range(3)))
    fake.misbehave(f"{order} bucket={bucket}")
    running = froe.start("run", "--cron", "* * * * * *", "--retries", 1, "--backoff", "100ms", program=froe.recorder())
    running.until("the programs have run", lambda: len(froe.record.ended()) == 3)
    time.sleep(3)
    running.kill()  # the state is durable, or at least no worse than at-least-once allows for what was in the air
    again = len(froe.record.begun())
    assert again == 3 and len(fake.keys(bucket)) == 3
    fake.behave()
    parked = froe.parked()
    if parked:
        assert all("delete" in one["error"] for one in parked)
        assert froe.parked_do("retry", "--all") == len(parked)
    froe.once("--backoff", "100ms", program=froe.recorder())
    assert fake.keys(bucket) == []
    if parked:
        assert len(froe.record.begun()) == 3, "a parked delete was tried again with its program"


def test_delete_answer_lost(fake, froe, prefix):
    """The delete was carried out but its answer never came: the retry finds nothing, which is fine."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((f"k{i}", b"x") for i in range(4)))
    fake.misbehave(f"reset op=delete applied=yes bucket={bucket} count=4")
    froe.once(program=froe.recorder())
    assert len(froe.record.begun()) == 4
    assert fake.keys(bucket) == [] and froe.parked() == []


def test_processed_but_not_deleted_and_then_overwritten(fake, froe, prefix):
    """The delete is still owed when a new body comes: that one is processed, not deleted."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"first")
    fake.misbehave(f"error op=delete status=500 bucket={bucket}")
    running = froe.start("run", "--cron", "* * * * * *", "--retries", 30, "--backoff", "200ms", program=froe.recorder())
    running.until("the program has run", lambda: len(froe.record.ended()) == 1)
    time.sleep(1)
    fake.raw.put(bucket, "k", b"second")
    fake.behave()
    running.until("all is gone", lambda: fake.keys(bucket) == [])
    assert running.stop().code == DRAINED
    assert len(froe.record.ended()) == 2

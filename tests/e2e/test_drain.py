"""The plain cases: what is there is processed and deleted, as many at a time as allowed, and the exit code says so."""
import hashlib
import random

import pytest
from froe import DRAINED

pytestmark = pytest.mark.timeout(120)


def uneven(prefix, *sizes):
    """{bucket: {key: body}}, bodies of random bytes."""
    return {f"{prefix}{i}": {f"object-{j:05d}": random.randbytes(random.randrange(1, 2000)) for j in range(size)}
            for i, size in enumerate(sizes)}


def fill(server, buckets, **more):
    for bucket, objects in buckets.items():
        server.make_bucket(bucket, **more)
        server.raw.fill(bucket, objects.items())


def left(server, buckets):
    return {bucket: keys for bucket in buckets if (keys := server.keys(bucket))}


@pytest.mark.core
def test_the_guides_own(server, froe):
    """Three buckets of three small objects; all options at their defaults; a minute."""
    buckets = {f"bucket-{i}": {f"object-{j}.png": random.randbytes(128) for j in range(3)} for i in range(3)}
    fill(server, buckets)
    running = froe.start("run", "--store", f"sqlite:{froe.store}", "--log", "json", program=froe.recorder(), plain=True)
    running.until("all objects are gone", lambda: not left(server, buckets), timeout=60)
    result = running.stop()
    assert result.code == DRAINED, result
    everything = sorted((bucket, key) for bucket, objects in buckets.items() for key in objects)
    assert sorted(froe.record.ended()) == sorted(froe.record.begun()) == everything


@pytest.mark.core
def test_once(server, froe, capture, prefix):
    buckets = uneven(prefix, 12, 3, 1, 0)
    fill(server, buckets)
    result = froe.once(program=capture.program())
    assert not left(server, buckets)
    seen = capture.seen()
    assert len(seen) == 16, result
    for one in seen:
        body = buckets[one["bucket"]][one["key"].decode()]
        assert (one["size"], one["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    [summary] = result.said("drained")
    assert summary["objects"] == 16 and summary["parked"] == 0 and summary["failed_attempts"] == 0
    assert summary["bytes"] == sum(len(body) for objects in buckets.values() for body in objects.values())
    assert summary["seconds"] >= 0 and summary["rate"] >= 0
    # All that is on stderr is the log, and the programs' stdout is not touched.
    assert all(line.startswith("{") for line in result.stderr.splitlines()), result
    assert result.stdout == ""


def test_nothing_to_do(server, froe, prefix):
    result = froe.once("--discard")
    assert result.said("drained")[0]["objects"] == 0
    server.make_bucket(prefix + "empty")
    assert froe.once("--discard").said("drained")[0]["objects"] == 0


def test_only_buckets_with_the_prefix(server, froe, prefix):
    """The server may ignore the prefix; froe may not."""
    other = "x" + prefix + "other"
    fill(server, {prefix + "mine": {"a": b"1"}, other: {"b": b"2"}})
    froe.once("--discard")
    assert server.keys(prefix + "mine") == []
    assert server.keys(other) == ["b"]


def test_programs_stdout_is_froes(server, froe, prefix):
    fill(server, {prefix + "1": {"a": b"hello from the object\n", "b": b"and another\n"}})
    result = froe.once(program=["cat"])
    assert sorted(result.stdout.splitlines()) == ["and another", "hello from the object"]


def test_discard(server, froe, prefix):
    buckets = uneven(prefix, 30, 5)
    fill(server, buckets)
    assert froe.once("--discard").said("drained")[0]["objects"] == 35
    assert not left(server, buckets)


def test_dry_run_touches_nothing(server, froe, prefix):
    buckets = uneven(prefix, 7, 2)
    fill(server, buckets)
    result = froe.run("run", "--dry-run")
    assert result.code == DRAINED, result
    assert prefix + "0" in result.stdout + result.stderr and prefix + "1" in result.stdout + result.stderr
    assert {bucket: sorted(server.keys(bucket)) for bucket in buckets} == {b: sorted(o) for b, o in buckets.items()}
    assert not froe.store.exists() and not froe.store.parent.exists()
    # A program may be named; it is not run.
    assert froe.run("run", "--dry-run", program=froe.recorder()).code == DRAINED
    assert froe.record.begun() == [] and not left(server, buckets) == buckets


def test_options_from_variables(server, froe, prefix):
    buckets = uneven(prefix, 5)
    fill(server, buckets)
    env = {"S3_WORKER_BUCKET_PREFIX": prefix, "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS": 2,
           "S3_WORKER_MAX_RUNS_PER_BUCKET": 3, "S3_WORKER_SLOTS": 4, "S3_WORKER_CRON": "* * * * *",
           "FROE_STORE": f"sqlite:{froe.store}", "FROE_RETRIES": 1, "FROE_TIMEOUT": "1m30s", "FROE_BACKOFF": "250ms",
           "FROE_MIN_AGE": "0", "FROE_INCLUDE": "*", "FROE_EXCLUDE": "none", "FROE_LOOK_AHEAD": 100, "FROE_LOG": "json",
           "FROE_LOG_LEVEL": "info"}
    result = froe.run("run", "--once", program=froe.recorder("sleep", "0.1"), env=env, plain=True)
    assert result.code == DRAINED, result
    assert not left(server, buckets) and froe.store.exists()
    assert froe.record.most_at_once()[0] <= 3
    assert result.said("drained")


def test_command_line_goes_before_variables(server, froe, prefix):
    fill(server, uneven(prefix, 2))
    result = froe.run("run", "--once", "--discard", env={"S3_WORKER_BUCKET_PREFIX": "no-such-", "FROE_LOG": "text"})
    assert result.code == DRAINED and result.said("drained")[0]["objects"] == 2, result


def test_store_is_by_default_in_the_state_folder(server, froe, prefix, folder):
    fill(server, uneven(prefix, 1))
    for env, place in (({}, froe.home / ".local/state/froe"), ({"XDG_STATE_HOME": folder / "xdg"}, folder / "xdg/froe")):
        result = froe.run("run", "--once", "--discard", "--bucket-prefix", prefix, env=env, plain=True)
        assert result.code == DRAINED, result
        files = [path for path in place.iterdir() if path.is_file()]
        assert files and all(path.stat().st_mode & 0o77 == 0 for path in files), files
        assert place.stat().st_mode & 0o77 == 0


def test_caps(server, froe, prefix):
    """Never more at once than max_runs of a bucket, nor than slots in all."""
    buckets = uneven(prefix, 30, 20, 10)
    fill(server, buckets)
    froe.once("--slots", 7, "--max-runs-per-bucket", 3, program=froe.recorder("sleep", "0.3"))
    most, by_bucket = froe.record.most_at_once()
    assert most <= 7 and max(by_bucket.values()) <= 3
    # They are limits, not something far above what is reached.
    assert most == 7 and by_bucket[prefix + "0"] == 3
    assert not left(server, buckets)


def test_one_at_a_time(server, froe, prefix):
    fill(server, uneven(prefix, 4, 4))
    froe.once("--slots", 1, "--max-runs-per-bucket", 1, "--max-pollers", 1, program=froe.recorder())
    assert froe.record.most_at_once()[0] == 1
    assert len(froe.record.ended()) == 8


def test_no_cap_per_bucket(server, froe, prefix):
    fill(server, uneven(prefix, 24))
    froe.once("--slots", 12, "--max-runs-per-bucket", 0, program=froe.recorder("sleep", "1"))
    assert froe.record.most_at_once()[0] == 12


def test_more_pages_than_one(server, froe, prefix):
    """1000 keys are a page of a listing."""
    n = 2500 if server.name == "fake" else 1100
    server.make_bucket(prefix + "1")
    server.raw.fill(prefix + "1", ((f"key-{i}", b"x") for i in range(n)))
    assert froe.once("--discard", timeout=100).said("drained")[0]["objects"] == n
    assert server.keys(prefix + "1") == []


def test_small_look_ahead(server, froe, prefix):
    """What is remembered is bounded, and still everything is reached."""
    server.make_bucket(prefix + "1")
    server.raw.fill(prefix + "1", ((f"key-{i}", b"x") for i in range(300)))
    froe.once("--look-ahead", 10, program=froe.recorder(), timeout=100)
    assert sorted(froe.record.ended()) == sorted((prefix + "1", f"key-{i}") for i in range(300))
    assert server.keys(prefix + "1") == []


def test_big_body_streams(server, froe, prefix, capture):
    body = random.randbytes(24 << 20)
    server.make_bucket(prefix + "1")
    server.s3.put_object(Bucket=prefix + "1", Key="big", Body=body)
    froe.once(program=capture.program())
    [one] = capture.seen()
    assert one["sha256"] == hashlib.sha256(body).hexdigest()
    assert int(one["env"]["FROE_SIZE"]) == len(body)
    assert server.keys(prefix + "1") == []


@pytest.mark.needs("multipart")
def test_multipart_object(server, froe, prefix, capture):
    """Its ETag is no MD5 and has a hyphen; all else is as ever."""
    bucket, parts = prefix + "1", [random.randbytes(5 << 20), random.randbytes(1000)]
    server.make_bucket(bucket)
    upload = server.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    about = [{"PartNumber": i, "ETag": server.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=i,
                                                             Body=part)["ETag"]} for i, part in enumerate(parts, 1)]
    server.s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": about})
    froe.once(program=capture.program())
    [one] = capture.seen()
    assert one["sha256"] == hashlib.sha256(b"".join(parts)).hexdigest()
    assert one["env"]["FROE_ETAG"].endswith(b"-2")
    assert server.keys(bucket) == []


def test_empty_object(server, froe, prefix, capture):
    fill(server, {prefix + "1": {"empty": b""}})
    froe.once(program=capture.program())
    [one] = capture.seen()
    assert one["size"] == 0 and one["env"]["FROE_SIZE"] == b"0"
    assert server.keys(prefix + "1") == []


def test_new_objects_are_found_by_the_next_tick(server, froe, prefix):
    server.make_bucket(prefix + "1")
    running = froe.start("run", "--cron", "* * * * * *", program=froe.recorder())
    for i in range(3):
        server.raw.put(prefix + "1", f"late-{i}", b"x")
        running.until(f"late-{i} is gone", lambda: server.keys(prefix + "1") == [])
    # A bucket made later too.
    server.make_bucket(prefix + "2")
    server.raw.put(prefix + "2", "later", b"x")
    running.until("the new bucket is drained", lambda: server.keys(prefix + "2") == [])
    # And a key that was there before.
    server.raw.put(prefix + "1", "late-0", b"y")
    running.until("the key is gone again", lambda: server.keys(prefix + "1") == [])
    assert running.stop().code == DRAINED
    assert len(froe.record.ended()) == 5


def test_bucket_that_vanishes(server, froe, prefix):
    fill(server, {prefix + "1": {f"k{i}": b"x" for i in range(6)}, prefix + "2": {"a": b"x"}})
    running = froe.start("run", "--once", "--slots", 2, program=froe.recorder("sleep", "0.5"))
    running.until("the first is at work", froe.record.begun)
    for key in server.keys(prefix + "1"):
        server.s3.delete_object(Bucket=prefix + "1", Key=key)
    server.s3.delete_bucket(Bucket=prefix + "1")
    result = running.wait()
    assert result.code == DRAINED, result
    assert server.keys(prefix + "2") == []


def test_gone_before_its_turn(server, froe, prefix):
    """An object that somebody else deleted is a logged no-op."""
    fill(server, {prefix + "1": {f"k{i}": b"x" for i in range(8)}})
    running = froe.start("run", "--once", "--slots", 1, program=froe.recorder("sleep", "0.3"))
    running.until("the first is at work", froe.record.begun)
    for i in range(4, 8):
        server.s3.delete_object(Bucket=prefix + "1", Key=f"k{i}")
    result = running.wait()
    assert result.code == DRAINED, result
    assert froe.record.ended() == [(prefix + "1", f"k{i}") for i in range(4)]
    assert froe.parked() == []


def test_many_buckets(server, froe, prefix):
    """More than a page of ListBuckets on the fake, where buckets are cheap."""
    n = 1200 if server.name == "fake" else 30
    for i in range(n):
        assert server.raw.request("PUT", f"/{prefix}{i}")[0] == 200
        if i % 100 == 7:
            server.raw.put(f"{prefix}{i}", "k", b"x")
    froe.once("--discard", timeout=100)
    assert not left(server, [f"{prefix}{i}" for i in range(n) if i % 100 == 7])


def test_progress_line_without_a_terminal(server, froe, prefix):
    fill(server, {prefix + "1": {f"k{i}": b"x" for i in range(4)}})
    result = froe.once("--slots", 1, program=froe.recorder("sleep", "2"))
    assert result.said("progress"), result


def test_objects_are_processed_in_listing_order_within_a_bucket(server, froe, prefix):
    fill(server, {prefix + "1": {f"k{i:03d}": b"x" for i in range(40)}})
    froe.once("--slots", 1, program=froe.recorder())
    assert froe.record.begun() == [(prefix + "1", f"k{i:03d}") for i in range(40)]


def test_second_run_on_a_drained_store(server, froe, prefix):
    for i in range(3):
        fill(server, {f"{prefix}{i}": {"a": b"x"}})
        assert froe.once("--discard").said("drained")[0]["objects"] == 1
        size = froe.store.stat().st_size
    assert size < 1 << 20


def test_store_does_not_grow_with_what_was_done(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    sizes = []
    for _ in range(2):
        fake.raw.fill(prefix + "1", ((f"some/longer/key/of/an/object/{i}", b"x") for i in range(3000)))
        froe.once("--discard", timeout=100)
        sizes.append(sum(path.stat().st_size for path in froe.store.parent.iterdir() if path.is_file()))
    assert sizes[1] < sizes[0] + (256 << 10), sizes

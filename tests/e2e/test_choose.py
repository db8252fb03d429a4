"""Which objects are taken: globs, age, folder markers, archived ones. What is skipped is counted and left alone."""
import time

import pytest
from froe import DRAINED


def skipped(froe, bucket):
    return froe.status_of(bucket)["skipped"]


def test_include_and_exclude(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    keys = ["a.png", "b.png", "dir/c.png", "dir/secret.png", "d.txt", "e.jpg"]
    server.raw.fill(bucket, ((key, b"x") for key in keys))
    froe.once("--include", "*.png", "--include=*.jpg", "--exclude", "*secret*", "--exclude", "b.*", program=froe.recorder())
    assert sorted(key for _, key in froe.record.ended()) == ["a.png", "dir/c.png", "e.jpg"]
    assert sorted(server.keys(bucket)) == ["b.png", "d.txt", "dir/secret.png"]
    assert skipped(froe, bucket)["excluded"] == 3


def test_globs_from_variables(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((key, b"x") for key in ("a1", "a2", "b1")))
    froe.once("--discard", env={"FROE_INCLUDE": "a*", "FROE_EXCLUDE": "*2"})
    assert sorted(server.keys(bucket)) == ["a2", "b1"]


def test_min_age(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.put(bucket, "old", b"x")
    time.sleep(5)
    server.raw.put(bucket, "young", b"x")
    froe.once("--min-age", "4s", program=froe.recorder())
    assert [key for _, key in froe.record.ended()] == ["old"]
    assert server.keys(bucket) == ["young"]
    assert skipped(froe, bucket)["too_young"] == 1
    time.sleep(5)
    froe.once(program=froe.recorder(), env={"FROE_MIN_AGE": "4s"})
    assert server.keys(bucket) == []


def test_young_objects_are_taken_once_old_enough(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    running = froe.start("run", "--min-age", "3s", "--cron", "* * * * * *", program=froe.recorder())
    time.sleep(1)
    server.raw.put(bucket, "k", b"x")
    put = time.time()
    running.until("it is old enough and gone", lambda: server.keys(bucket) == [])
    assert time.time() - put >= 1.9  # times in listings are cut to seconds
    assert running.stop().code == DRAINED


def test_folder_markers(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, [("dir/", b""), ("dir/sub/", b""), ("dir/x", b"x"), ("full/", b"not empty"), ("empty", b"")])
    froe.once(program=froe.recorder())
    assert sorted(key for _, key in froe.record.ended()) == ["dir/x", "empty", "full/"]
    assert sorted(server.keys(bucket)) == ["dir/", "dir/sub/"]
    assert skipped(froe, bucket) == {"archived": 0, "marker": 2, "excluded": 0, "too_young": 0, "no_rule": 0, "kept": 0}


@pytest.mark.needs("storage_class")
def test_archived(server, froe, prefix):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    for storage in ("STANDARD", "GLACIER", "DEEP_ARCHIVE", "STANDARD_IA", "GLACIER_IR"):
        server.s3.put_object(Bucket=bucket, Key=storage, Body=b"x", StorageClass=storage)
    froe.once(program=froe.recorder())
    # Glacier Instant Retrieval can be read at once.
    assert sorted(key for _, key in froe.record.ended()) == ["GLACIER_IR", "STANDARD", "STANDARD_IA"]
    assert sorted(server.keys(bucket)) == ["DEEP_ARCHIVE", "GLACIER"]
    assert skipped(froe, bucket)["archived"] == 2
    assert froe.parked() == []


def test_archived_but_restored(fake, froe, prefix):
    """A copy that can be read for now is as good as any object."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    for key in ("cold", "thawed"):
        fake.s3.put_object(Bucket=bucket, Key=key, Body=b"x", StorageClass="GLACIER")
    fake.restore(bucket, "thawed")
    froe.once(program=froe.recorder())
    assert [key for _, key in froe.record.ended()] == ["thawed"]
    assert fake.keys(bucket) == ["cold"]

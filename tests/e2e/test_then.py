"""What becomes of an object that was processed: deleted, moved, tagged or kept. Each row of the table in docs/output.md."""
import random
import signal
import time

import pytest
import yaml
from froe import DRAINED, PARKED


@pytest.fixture
def done(prefix):
    """A bucket that is not drained."""
    return "done-" + prefix.rstrip("-")


@pytest.fixture
def bucket(request, prefix):
    server = request.getfixturevalue("server" if "server" in request.fixturenames else "fake")
    server.make_bucket(prefix + "1")
    return prefix + "1"


def tags_of(server, bucket, key):
    return {tag["Key"]: tag["Value"] for tag in server.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def processed(froe):
    return sorted(key for _, key in froe.record.ended())


@pytest.mark.core
def test_move(server, froe, bucket, done):
    server.make_bucket(done)
    for key in ("a", "d/b \u00e4+%.txt"):
        server.s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"colour": "red"}, ContentType="x/y", Tagging="k=v")
    froe.once("--then", f"move:s3://{done}/{{bucket}}/{{key}}", program=froe.recorder())
    assert server.keys(bucket) == [] and froe.parked() == []
    assert sorted(server.keys(done)) == sorted(f"{bucket}/{key}" for key in ("a", "d/b \u00e4+%.txt"))
    for key in ("a", "d/b \u00e4+%.txt"):
        moved = server.s3.get_object(Bucket=done, Key=f"{bucket}/{key}")
        assert moved["Body"].read() == key.encode() and moved["Metadata"] == {"colour": "red"} and moved["ContentType"] == "x/y"
        assert tags_of(server, done, f"{bucket}/{key}") == {"k": "v"}


def test_move_where_there_is_no_bucket(server, froe, bucket, done):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    froe.once("--then", f"move:s3://{done}/{{key}}", "--retries", 1, "--backoff", "50ms", program=froe.recorder(), expect=PARKED)
    assert "processed, but not moved" in froe.parked()[0]["error"] and server.keys(bucket) == ["a"]
    server.make_bucket(done)
    froe.parked_do("retry", "--all")
    froe.once(program=froe.recorder())  # what was decided holds, whatever is said now
    assert server.keys(bucket) == [] and server.body(done, "a") == b"x"
    assert processed(froe) == ["a"]


@pytest.mark.needs("versioning")
def test_move_of_a_version(server, froe, bucket, done):
    server.make_bucket(done)
    server.set_versioning(bucket, "Enabled")
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"older")
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"newer")
    froe.once("--then", f"move:s3://{done}/{{key}}-{{version}}", program=["cat"])
    [moved] = server.keys(done)
    assert server.body(done, moved) == b"newer" and moved.startswith("a-") and len(moved) > 3
    assert server.body(bucket, "a") == b"older" and len(server.versions(bucket)) == 1


@pytest.mark.core
def test_move_overwritten(fake, froe, bucket, done):
    """What was not read is not moved."""
    fake.make_bucket(done)
    fake.raw.fill(bucket, [("a", b"first")])
    fake.misbehave(f"overwrite bucket={bucket} count=1")
    froe.once("--then", f"move:s3://{done}/{{key}}-{{etag}}", program=froe.recorder())
    assert fake.keys(bucket) == [] and len(fake.keys(done)) == 1 and processed(froe) == ["a", "a"]
    assert fake.body(done, fake.keys(done)[0]) != b"first"


@pytest.mark.core
@pytest.mark.parametrize("then", ["keep", "tag:class=done,by=froe"])
def test_stays_and_is_processed_once(server, froe, bucket, then):
    for i in range(25):
        server.s3.put_object(Bucket=bucket, Key=f"k{i:02d}", Body=b"x", Tagging="mine=1")
    keys = sorted(server.keys(bucket))
    for _ in range(3):
        froe.once("--then", then, program=froe.recorder())
        assert processed(froe) == keys and sorted(server.keys(bucket)) == keys
    assert froe.status_of(bucket)["skipped"]["kept"] == 25
    expected = {"mine": "1"} | ({"class": "done", "by": "froe"} if then != "keep" else {})
    assert tags_of(server, bucket, "k07") == expected
    server.s3.put_object(Bucket=bucket, Key="k07", Body=b"new")  # another state
    froe.once("--then", then, program=froe.recorder())
    assert processed(froe) == sorted([*keys, "k07"])
    froe.once("--then", then, program=froe.recorder())
    assert len(processed(froe)) == 26


def test_kept_by_a_froe_that_goes_on(fake, froe, bucket):
    """Each second a pass, and none of them processes them again."""
    fake.seed(bucket, 50)
    running = froe.start("run", "--cron", "* * * * * *", "--then", "keep", program=froe.recorder())
    running.until("all are processed", lambda: len(processed(froe)) == 50)
    time.sleep(3)
    running.signal(signal.SIGTERM)
    assert running.wait().code == DRAINED
    assert len(processed(froe)) == 50 and len(fake.keys(bucket)) == 50


def test_killed_while_keeping(fake, froe, bucket):
    fake.seed(bucket, 300)
    for _ in range(5):
        running = froe.start("run", "--once", "--then", "keep", program=["cat"])
        running.until("it works", lambda: froe.store.exists())
        time.sleep(random.random() * 0.3)
        running.kill()
    froe.once("--then", "keep", program=froe.recorder())
    froe.once("--then", "keep", program=froe.recorder())
    assert len(fake.keys(bucket)) == 300 and len(processed(froe)) == len(set(processed(froe))) <= 300


def test_kept_then_deleted(fake, froe, bucket):
    """Rules that do not keep any more take what older ones kept."""
    fake.seed(bucket, 5)
    froe.once("--then", "keep", program=froe.recorder())
    froe.once(program=froe.recorder())
    assert fake.keys(bucket) == [] and len(processed(froe)) == 10


def test_too_many_tags(server, froe, bucket):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="&".join(f"t{i}=v" for i in range(10)))
    froe.once("--then", "tag:more=1", "--retries", 0, program=["cat"], expect=PARKED)
    assert "more than the 10 that S3 allows" in froe.parked()[0]["error"]
    assert len(tags_of(server, bucket, "a")) == 10


def test_rules_have_their_own(fake, froe, prefix, bucket, done, folder):
    """With the result of one rule stored before its object is moved."""
    fake.make_bucket(done)
    fake.raw.fill(bucket, [("a.move", b"a"), ("b.tag", b"b"), ("c.keep", b"c"), ("d.delete", b"d"), ("e", b"e")])
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({
        "bucket_prefix": prefix, "store": f"sqlite:{froe.store}", "program": ["tr", "a-z", "A-Z"], "then": "delete", "rules": [
            {"keys": "*.move", "then": {"move": {"bucket": done, "key": "{key}"}}, "output": f"s3://{done}/results/{{key}}"},
            {"keys": "*.tag", "then": {"tag": {"seen": "yes"}}},
            {"when": "content_type == \"\" && key == \"never\"", "then": "keep"},
            {"keys": "*.keep", "then": "keep"}, {"keys": "*.delete"}]}))
    for _ in range(2):
        result = froe.run("run", "--once", "--log", "json", "--config", config, plain=True)
        assert result.code == DRAINED, result
        assert sorted(fake.keys(bucket)) == ["b.tag", "c.keep", "e"]
    assert sorted(result.stdout) == []  # nothing was done twice
    assert fake.body(done, "a.move") == b"a" and fake.body(done, "results/a.move") == b"A"
    assert tags_of(fake, bucket, "b.tag") == {"seen": "yes"}
    shown = froe.run("config", "show", "--config", config, plain=True).stdout
    assert f'then               {{"move":{{"bucket":"{done}","key":"{{key}}"}}}}' in shown and "then               keep" in shown

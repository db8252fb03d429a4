"""What becomes of an object that was processed: deleted, moved, tagged or kept. Each row of the table in docs/output.md."""
import contextlib
import hashlib
import itertools
import random
import signal
import sqlite3
import threading
import time

import pytest
import yaml
from froe import DRAINED, PARKED


@pytest.fixture
def done(prefix):
    """A bucket that is not drained."""
    return "done-" + prefix.rstrip("-")


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


@pytest.mark.needs("standard_ia")
def test_moved_into_the_usual_class(server, froe, bucket, done):
    server.make_bucket(done)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x", StorageClass="STANDARD_IA")
    froe.once("--then", f"move:s3://{done}/{{key}}", program=["cat"])
    assert [item["StorageClass"] for item in server.s3.list_objects_v2(Bucket=done)["Contents"]] == ["STANDARD"]


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


@pytest.mark.parametrize("then", ["move", "keep", "tag:seen=yes"])
def test_overwritten_while_it_runs(server, froe, bucket, done, capture, folder, then):
    """Only what was read is moved, kept or tagged; what is there then is processed, too, and then all that is done to it. Before
    froe looks, so on servers that ignore conditions as well."""
    server.make_bucket(done)
    server.raw.put(bucket, "k", b"first")
    go = folder / "go"
    args = ("run", "--once", "--then", f"move:s3://{done}/{{key}}-{{etag}}" if then == "move" else then)
    running = froe.start(*args, program=capture.program("wait", go))
    running.until("the first is seen", capture.seen)
    server.raw.put(bucket, "k", b"second")
    go.touch()
    assert running.wait().code == DRAINED
    for _ in range(2):
        assert froe.run(*args, program=capture.program()).code == DRAINED
    assert [one["sha256"] for one in capture.seen()] == [hashlib.sha256(body).hexdigest() for body in (b"first", b"second")]
    if then == "move":
        assert server.keys(bucket) == []
        assert {key: server.body(done, key) for key in server.keys(done)} == {f"k-{hashlib.md5(b'second').hexdigest()}": b"second"}
    else:
        assert server.body(bucket, "k") == b"second"
        assert tags_of(server, bucket, "k") == ({"seen": "yes"} if then != "keep" else {})


@pytest.mark.parametrize("then", ["move", "tag:seen=yes"])
def test_deleted_while_it_runs(server, froe, bucket, done, capture, folder, then):
    """What is gone needs neither to be moved nor tagged, and nobody is to be troubled with it."""
    server.make_bucket(done)
    server.raw.put(bucket, "k", b"x")
    go = folder / "go"
    running = froe.start("run", "--once", "--then", f"move:s3://{done}/{{key}}" if then == "move" else then,
                         program=capture.program("wait", go))
    running.until("it is seen", capture.seen)
    server.s3.delete_object(Bucket=bucket, Key="k")
    go.touch()
    assert running.wait().code == DRAINED
    assert froe.parked() == [] and len(capture.seen()) == 1 and server.keys(done) == []


@pytest.mark.core
def test_move_overwritten(fake, froe, bucket, done):
    """What was not read is not moved. By the fake, right before the copy, as no client could; test_overwritten_while_it_runs and
    test_move_in_a_storm are for each server."""
    fake.make_bucket(done)
    fake.raw.fill(bucket, [("a", b"first")])
    fake.misbehave(f"overwrite bucket={bucket} count=1")
    froe.once("--then", f"move:s3://{done}/{{key}}-{{etag}}", program=froe.recorder())
    assert fake.keys(bucket) == [] and len(fake.keys(done)) == 1 and processed(froe) == ["a", "a"]
    assert fake.body(done, fake.keys(done)[0]) != b"first"


@pytest.mark.core
@pytest.mark.parametrize("then", ["keep", "tag:seen=yes"])
def test_stays_overwritten(fake, froe, bucket, then):
    """Overwritten after it was read: what is there then is processed too, whatever was recorded or tagged before.
    By the fake, at a moment that no client could choose; test_overwritten_while_it_runs is for each server."""
    fake.raw.fill(bucket, [(f"k{i}", f"body {i}".encode()) for i in range(6)])
    fake.misbehave(f"overwrite bucket={bucket} count=3")
    for _ in range(3):
        froe.once("--then", then, program=froe.recorder())
    fake.behave()
    assert len(processed(froe)) == 9 and len(fake.keys(bucket)) == 6
    if then != "keep":
        assert all(tags_of(fake, bucket, key) == {"seen": "yes"} for key in fake.keys(bucket))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.needs("strict_auth")  # the fake and Ceph, which ignores x-amz-copy-source-if-match
@pytest.mark.parametrize("template", ["{key}", "{key}-{etag}"])
def test_move_in_a_storm(server, froe, bucket, done, capture, template):
    """Keys are overwritten all the time while they are moved. The last of each key was replaced by nobody: it must have been
    processed, and be what lies where it was moved to."""
    server.make_bucket(done)
    newest, written, failures, stop = {}, set(), [], threading.Event()

    def write(seed):
        rng = random.Random(seed)
        try:
            for number in itertools.count():
                if stop.is_set():
                    return
                key = f"w{seed}-{rng.randrange(6)}"
                body = f"{key} {number}".encode()
                written.add(body)
                newest[key] = body
                server.raw.put(bucket, key, body)
                time.sleep(rng.random() * 0.02)
        except Exception as error:  # told at the end: an exception in a thread is otherwise lost
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for writer in writers:
        writer.start()
    running = froe.start("run", "--cron", "* * * * * *", "--slots", 8, "--then", f"move:s3://{done}/{template}", program=capture.program())
    running.until("enough was written and processed", lambda: failures or (len(written) > 200 and len(capture.seen()) > 24), timeout=60)
    stop.set()
    for writer in writers:
        writer.join()
    assert not failures
    running.until("all is moved", lambda: not server.keys(bucket), timeout=60)
    result = running.stop()
    assert result.code == DRAINED, result
    seen = {one["sha256"] for one in capture.seen()}
    moved = {key: server.body(done, key) for key in server.keys(done)}
    other = [key for key, body in moved.items() if template != "{key}" and hashlib.md5(body).hexdigest() != key.split("-")[-1]]
    print(f"{server.name}: {len(written)} written, {len(seen)} processed, {len(moved)} moved, {len(other)} of another name")
    assert set(moved.values()) <= written
    lost = [key for key, body in newest.items() if hashlib.sha256(body).hexdigest() not in seen]
    wrong = [key for key, body in newest.items()
             if moved.get(key if template == "{key}" else f"{key}-{hashlib.md5(body).hexdigest()}") != body]
    if "conditional_delete" not in server.can and lost:
        # The window between froe's HEAD and its DELETE is open on such a server, and froe says so.
        assert "unguarded" in result.stderr and set(wrong) <= set(lost)
        pytest.skip(f"{server.name} lacks conditional_delete: {len(lost)} of {len(newest)} fell into the window that froe calls "
                    "unguarded")
    assert not lost and not wrong and froe.parked() == []
    if "conditional_delete" in server.can:
        assert not other


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


def test_kept_by_a_froe_that_goes_on(server, froe, bucket):
    """Each second a pass, and none of them processes them again."""
    server.raw.fill(bucket, [(f"k{i}", b"x") for i in range(50)])
    running = froe.start("run", "--cron", "* * * * * *", "--then", "keep", program=froe.recorder())
    running.until("all are processed", lambda: len(processed(froe)) == 50)
    time.sleep(3)
    running.signal(signal.SIGTERM)
    assert running.wait().code == DRAINED
    assert len(processed(froe)) == 50 and len(server.keys(bucket)) == 50


@pytest.mark.needs("strict_auth")  # the fake and Ceph
def test_killed_while_keeping(server, froe, bucket):
    server.raw.fill(bucket, [(f"k{i}", b"x") for i in range(300)])
    for _ in range(5):
        running = froe.start("run", "--once", "--then", "keep", program=["cat"])
        running.until("it works", lambda: froe.store.exists())
        time.sleep(random.random() * 0.3)
        running.kill()
    froe.once("--then", "keep", program=froe.recorder())
    froe.once("--then", "keep", program=froe.recorder())
    assert len(server.keys(bucket)) == 300 and len(processed(froe)) == len(set(processed(froe))) <= 300


def records_of(froe):
    """[(name, value's bytes)] in the store."""
    with contextlib.closing(sqlite3.connect(froe.store)) as store:
        return store.execute("SELECT CAST(name AS TEXT), length(value) FROM value WHERE CAST(name AS TEXT) LIKE 'kept/%'").fetchall()


def test_kept_then_deleted(server, froe, bucket, folder):
    """Rules that do not keep any more take what older ones kept, and its records go: while there is still one that keeps, and
    also when there is none."""
    config = folder / "froe.yaml"
    config.write_text("rules: [{keys: 'a*', then: keep}, {}]\n")
    server.raw.fill(bucket, [(f"{name}{i}", b"x") for i in range(3) for name in "abc"])
    froe.once("--then", "keep", program=froe.recorder())
    assert len(records_of(froe)) == 9
    server.raw.fill(bucket, [("a1", b"y")])
    froe.once("--config", config, program=froe.recorder())
    assert sorted(server.keys(bucket)) == ["a0", "a1", "a2"] and len(records_of(froe)) == 3 and len(processed(froe)) == 16
    froe.once(program=froe.recorder())
    assert server.keys(bucket) == [] and len(processed(froe)) == 19 and records_of(froe) == []


def test_records_are_bounded(server, froe, bucket):
    """One for each key, of a size that the key's length and its overwrites do not change."""
    keys = ["k" * n for n in (1, 10, 1000)]
    for number in range(4):
        server.raw.fill(bucket, [(key, f"{number}".encode()) for key in keys])
        froe.once("--then", "keep", program=froe.recorder())
        assert len(processed(froe)) == 3 * (number + 1)
        found = records_of(froe)
        assert len(found) == 3 and {length for _, length in found} == {32}
        assert {len(name) for name, _ in found} == {len(f"kept/{bucket}/") + 32}


@pytest.mark.needs("strict_auth")  # the fake and Ceph
def test_kept_by_identical_bytes(server, froe, bucket):
    """The ETag decides: an upload of the same bytes is the same state."""
    for body in (b"x", b"x", b"y", b"x"):
        server.s3.put_object(Bucket=bucket, Key="a", Body=body)
        froe.once("--then", "keep", program=froe.recorder())
    assert processed(froe) == ["a"] * 3


def test_too_many_tags(server, froe, bucket):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="&".join(f"t{i}=v" for i in range(10)))
    froe.once("--then", "tag:more=1", "--retries", 0, program=["cat"], expect=PARKED)
    assert "more than the 10 that S3 allows" in froe.parked()[0]["error"]
    assert len(tags_of(server, bucket, "a")) == 10


def test_rules_have_their_own(server, froe, prefix, bucket, done, folder):
    """With the result of one rule stored before its object is moved."""
    server.make_bucket(done)
    server.raw.fill(bucket, [("a.move", b"a"), ("b.tag", b"b"), ("c.keep", b"c"), ("d.delete", b"d"), ("e", b"e")])
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
        assert sorted(server.keys(bucket)) == ["b.tag", "c.keep", "e"]
    assert sorted(result.stdout) == []  # nothing was done twice
    assert server.body(done, "a.move") == b"a" and server.body(done, "results/a.move") == b"A"
    assert tags_of(server, bucket, "b.tag") == {"seen": "yes"}
    shown = [line.split() for line in froe.run("config", "show", "--config", config, plain=True).stdout.splitlines()]
    assert ["then", f'{{"move":{{"bucket":"{done}","key":"{{key}}"}}}}'] in [words[:2] for words in shown]
    assert ["then", "keep"] in [words[:2] for words in shown]

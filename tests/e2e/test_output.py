"""Results: where they land, what they are called, and that no object is deleted before its result is durable. Each row of the tables
in docs/output.md has its test here or in test_then.py."""
import os
import random
import subprocess
import time

import pytest
import servers
import yaml
from froe import DRAINED, PARKED, USAGE

UPPER = ["tr", "a-z", "A-Z"]


@pytest.fixture
def results(prefix):
    """A bucket that is not drained."""
    return "results-" + prefix.rstrip("-")


@pytest.fixture
def configured(froe, prefix, folder):
    """Until drained, by a configuration file."""
    def configured(config, expect=DRAINED, **more):
        path = folder / "froe.yaml"
        path.write_text(yaml.safe_dump({"bucket_prefix": prefix, "store": f"sqlite:{froe.store}"} | config, sort_keys=False))
        result = froe.run("run", "--once", "--log", "json", "--config", path, plain=True, **more)
        assert result.code == expect, result
        return result
    return configured


@pytest.fixture
def bucket(request, prefix):
    server = request.getfixturevalue("server" if "server" in request.fixturenames else "fake")
    server.make_bucket(prefix + "1")
    return prefix + "1"


def files(root):
    """What is below it: {path: content}."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def out(folder):
    path = folder / "out"
    path.mkdir()
    return path


# ---- into a bucket ----

@pytest.mark.core
def test_into_a_bucket(server, froe, bucket, results):
    server.make_bucket(results)
    bodies = {f"d/{i} \u00e4.txt": f"body {i}".encode() for i in range(20)} | {"none": b"", "x.tar.gz": b"packed"}
    for key, body in bodies.items():
        server.s3.put_object(Bucket=bucket, Key=key, Body=body)
    froe.once("--output", f"s3://{results}/made/{{stem}}.{{ext}}", program=UPPER)
    assert server.keys(bucket) == [] and froe.parked() == []
    assert {key: server.body(results, key) for key in server.keys(results)} == {
        "made/" + key: body.upper() for key, body in bodies.items()}
    assert server.s3.head_object(Bucket=results, Key="made/x.tar.gz")["ContentType"] == "application/gzip"
    assert server.s3.head_object(Bucket=results, Key="made/d/1 \u00e4.txt")["ContentType"] == "text/plain"


@pytest.mark.core
def test_what_is_carried_over(server, configured, bucket, results):
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="a.bin", Body=b"x", Metadata={"colour": "red", "n": "1"}, Tagging="class=raw%20one&k=v")
    configured({"program": ["cat"], "output": [
        {"bucket": results, "key": "with/{key}", "copy_metadata": True, "copy_tags": True, "content_type": "x/y"},
        {"bucket": results, "key": "without/{key}"}]})

    def seen(key):
        head = server.s3.head_object(Bucket=results, Key=key)
        tags = server.s3.get_object_tagging(Bucket=results, Key=key)["TagSet"]
        return head["Metadata"], {tag["Key"]: tag["Value"] for tag in tags}
    assert seen("with/a.bin") == ({"colour": "red", "n": "1"}, {"class": "raw one", "k": "v"})
    assert seen("without/a.bin") == ({}, {})
    assert server.s3.head_object(Bucket=results, Key="with/a.bin")["ContentType"] == "x/y"
    assert server.keys(bucket) == []


@pytest.mark.needs("storage_class")
def test_storage_class(server, configured, bucket, results):
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    configured({"program": ["cat"], "output": {"bucket": results, "key": "{key}", "storage_class": "STANDARD_IA"}})
    assert server.s3.head_object(Bucket=results, Key="a")["StorageClass"] == "STANDARD_IA"


@pytest.mark.needs("multipart")
def test_in_parts_above_a_size(server, configured, bucket, results):
    server.make_bucket(results)
    body = random.randbytes(12 << 20)
    server.s3.put_object(Bucket=bucket, Key="large", Body=body)
    server.s3.put_object(Bucket=bucket, Key="small", Body=body[:5 << 20])
    configured({"program": ["cat"], "output": {"bucket": results, "key": "{key}", "part_size": "5MiB"}})
    assert server.body(results, "large") == body and server.body(results, "small") == body[:5 << 20]
    assert server.s3.head_object(Bucket=results, Key="large")["ETag"].endswith('-3"')
    assert "-" not in server.s3.head_object(Bucket=results, Key="small")["ETag"]
    assert server.keys(bucket) == []


def test_another_server(fake, configured, folder, bucket, request):
    """A bucket of the same name there is another bucket."""
    place = folder / "other"
    place.mkdir()
    other = servers.FakeServer(str(place), request.config.getoption("--build"))
    try:
        other.make_bucket(bucket)
        fake.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
        configured({"program": ["cat"], "output": {"bucket": bucket, "key": "{key}", "endpoint": other.endpoint}})
        assert other.body(bucket, "a") == b"x" and fake.keys(bucket) == []
    finally:
        other.stop()


def test_another_region(fake, configured, bucket, results):
    fake.make_bucket(results, region="eu-west-1")
    fake.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    configured({"program": ["cat"], "output": {"bucket": results, "key": "{key}", "region": "eu-west-1"}})
    assert fake.client(region="eu-west-1").get_object(Bucket=results, Key="a")["Body"].read() == b"x"
    assert fake.keys(bucket) == []


# ---- into a directory ----

@pytest.mark.core
def test_into_a_directory(server, froe, bucket, out):
    bodies = {f"d{i % 3}/e/{i}.txt": f"body {i}".encode() for i in range(20)} | {"none": b"", "-x ..y": b"q"}
    for key, body in bodies.items():
        server.s3.put_object(Bucket=bucket, Key=key, Body=body)
    froe.once("--output", f"{out}/{{bucket}}/{{key}}", program=UPPER)
    assert server.keys(bucket) == []
    assert files(out) == {f"{bucket}/{key}": body.upper() for key, body in bodies.items()}


def test_relative_directory(fake, froe, bucket, folder):
    fake.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    (folder / "results").mkdir()
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", froe.prefix, "--output",
                           "results/{key}.out", program=["cat"])
    subprocess.run(command, cwd=folder, env=froe.env(), check=True, timeout=60, capture_output=True)
    assert files(folder / "results") == {"a.out": b"x"}


ODD = {"../x": "'..' means a directory", "a/../../x": "'..' means a directory", "./x": "'.' means a directory",
       "/etc/x": "begins or ends with '/'", "a//b": "two in a row", "a/b/": "begins or ends with '/'",
       "n" * 256: "at most 255 bytes"}


@pytest.mark.core
def test_keys_that_cannot_be_files_are_parked(fake, froe, bucket, out, folder):
    for key in [*ODD, "good"]:
        fake.raw.fill(bucket, [(key, b"x")])
    froe.once("--output", f"{out}/{{key}}", program=["cat"], expect=PARKED)
    assert files(out) == {"good": b"x"} and sorted(fake.keys(bucket)) == sorted(ODD)
    parked = {one["key"]: one for one in froe.parked()}
    for key, reason in ODD.items():
        assert reason in parked[key]["error"] and parked[key]["attempts"] == 1, key
    assert not (folder / "x").exists() and not os.path.exists("/etc/x")


def test_links_are_not_followed(fake, froe, bucket, out, folder):
    (folder / "outside").mkdir()
    (out / "link").symlink_to(folder / "outside")
    fake.s3.put_object(Bucket=bucket, Key="link/a", Body=b"x")
    froe.once("--output", f"{out}/{{key}}", "--retries", 0, program=["cat"], expect=PARKED)
    assert "a symbolic link 'link' where a directory must be" in froe.parked()[0]["error"]
    assert list((folder / "outside").iterdir()) == []


def test_a_key_that_is_the_directory_of_another(fake, froe, bucket, out):
    fake.raw.fill(bucket, [("a", b"1"), ("a/b", b"2")])
    froe.once("--output", f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms", "--max-runs-per-bucket", 1, program=["cat"],
              expect=PARKED)
    [left] = fake.keys(bucket)
    [parked] = froe.parked()
    reason = {"a": "there is a directory of that name", "a/b": "a file or a symbolic link 'a' where a directory must be"}
    assert parked["key"] == left and reason[left] in parked["error"]
    assert files(out) == ({"a/b": b"2"} if left == "a" else {"a": b"1"})


# ---- names ----

@pytest.mark.parametrize("template, expected", [
    ("{bucket}/{key}", "BUCKET/a.b/c.tar.gz"), ("{dir}new-{base}", "a.b/new-c.tar.gz"), ("{stem}.txt", "a.b/c.tar.txt"),
    ("{stem}.{ext}", "a.b/c.tar.gz"), ("{ext}/{base}", "gz/c.tar.gz"), ("{etag}", "ETAG"), ("{key}{name}{version}", "a.b/c.tar.gz"),
    ("{date}/{base}", "DATE/c.tar.gz"), ("{year}-{month}-{day}/{hour}/{key}", "DATE/HOUR/a.b/c.tar.gz"), ("{{{base}}}", "{c.tar.gz}"),
])
def test_templates(fake, froe, bucket, out, template, expected):
    fake.s3.put_object(Bucket=bucket, Key="a.b/c.tar.gz", Body=b"x")
    head = fake.s3.head_object(Bucket=bucket, Key="a.b/c.tar.gz")
    froe.once("--output", f"{out}/{template}", program=["cat"])
    for name, value in (("BUCKET", bucket), ("ETAG", head["ETag"].strip('"')), ("DATE", head["LastModified"].strftime("%Y-%m-%d")),
                        ("HOUR", head["LastModified"].strftime("%H"))):
        expected = expected.replace(name, value)
    assert list(files(out)) == [expected]


def test_name_that_is_too_long(fake, froe, bucket, results):
    fake.make_bucket(results)
    fake.raw.fill(bucket, [("k" * 1024, b"x"), ("k" * 1022, b"y")])
    froe.once("--output", f"s3://{results}/r/{{key}}", program=["cat"], expect=PARKED)
    assert fake.keys(results) == ["r/" + "k" * 1022] and fake.keys(bucket) == ["k" * 1024]
    [parked] = froe.parked()
    assert "that has 1026 bytes, and a key has at most 1024" in parked["error"] and parked["attempts"] == 1


WORKER = """
import json, sys
for line in sys.stdin.buffer:
    job = json.loads(line)
    body = sys.stdin.buffer.read(job["body_bytes"])
    parts = [("small", body[:1]), ("large", body * 2)]
    answer = {"id": job["id"], "status": "ok", "results": [
        {"name": name, "bytes": len(data), "content_type": "x/" + name, "extension": name[0]} for name, data in parts]}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\\n" + b"".join(data for _, data in parts))
    sys.stdout.buffer.flush()
"""


def test_several_results_in_several_outputs(server, configured, bucket, results, out):
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="d/a.txt", Body=b"ab")
    configured({"pool": True, "program": ["/usr/bin/python3", "-c", WORKER],
                "output": [f"s3://{results}/{{stem}}-{{name}}.{{ext}}", f"{out}/{{name}}/{{key}}"]})
    assert {key: server.body(results, key) for key in server.keys(results)} == {"d/a-small.s": b"a", "d/a-large.l": b"abab"}
    assert server.s3.head_object(Bucket=results, Key="d/a-small.s")["ContentType"] == "x/small"
    assert files(out) == {"small/d/a.txt": b"a", "large/d/a.txt": b"abab"}
    assert server.keys(bucket) == []


def test_results_that_would_have_one_name(fake, configured, froe, bucket, out):
    fake.s3.put_object(Bucket=bucket, Key="a", Body=b"ab")
    configured({"pool": True, "program": ["/usr/bin/python3", "-c", WORKER], "output": f"{out}/{{key}}"}, expect=PARKED)
    assert "two results of this object would be called 'a'; put {name} into it" in froe.parked()[0]["error"]
    assert files(out) == {} and fake.keys(bucket) == ["a"]


# ---- rules ----

def test_each_rule_has_its_own(fake, configured, froe, bucket, results, out):
    fake.make_bucket(results)
    (out / "general").mkdir()
    fake.raw.fill(bucket, [("a.up", b"a"), ("b.low", b"B"), ("c.none", b"c"), ("d.drop", b"d"), ("e", b"e")])
    result = configured({"program": ["cat"], "output": f"{out}/general/{{key}}", "rules": [
        {"keys": "*.up", "handler": {"program": UPPER}, "output": f"s3://{results}/{{key}}"},
        {"keys": "*.low", "handler": {"program": ["tr", "A-Z", "a-z"]}},
        {"keys": "*.none", "output": "none"},
        {"keys": "*.drop", "handler": "discard"},
        {}]})
    assert fake.body(results, "a.up") == b"A" and fake.keys(results) == ["a.up"]
    assert files(out) == {"general/b.low": b"b", "general/e": b"e"}
    assert result.stdout == "c"  # as ever, froe's own
    assert fake.keys(bucket) == []


@pytest.mark.parametrize("config, reason", [
    ({"output": "s3://DRAINED/{key}"}, "a result would land in 'DRAINED', which is drained itself"),
    ({"output": {"bucket": "DRAINED", "key": "{key}"}}, "a result would land in 'DRAINED', which is drained itself"),
    ({"rules": [{"buckets": "DRAINED"}, {"output": "s3://DRAINED/{key}"}]}, "and a rule matches it"),
    ({"then": {"move": "s3://DRAINED/{key}"}}, "a moved object would land in 'DRAINED', which is drained itself"),
    ({"output": "s3://results/{stern}"}, "at 1: there is no {stern}"),
    ({"output": "s3://results/fixed"}, "the same for all objects"),
    ({"output": "s3://results"}, "names no key"),
    ({"output": "s3://Res ults/{key}"}, "bucket"),
    ({"output": "file"}, "names no file"),
    ({"output": "/is/not/there/{key}"}, "the directory /is/not/there: No such file or directory"),
    ({"output": "not-there/{key}"}, "the directory not-there: No such file or directory"),
    ({"output": {"key": "{key}"}}, "either a bucket or a directory"),
    ({"output": {"bucket": "results"}}, "an output needs a key"),
    ({"output": {"directory": "/tmp", "key": "{key}", "copy_tags": True}}, "copy_tags is for an output with a bucket"),
    ({"output": {"bucket": "results", "key": "{key}", "part_size": "1MiB"}}, "part_size is a size from 5MiB to 5GiB"),
    ({"output": {"bucket": "results", "kex": "{key}"}}, "unknown key 'kex' of an output; did you mean key?"),
    ({"output": []}, "an empty list"),
    ({"program": None, "discard": True, "output": "/tmp/{key}"}, "discarding makes no results"),
    ({"rules": [{"handler": "discard", "output": "/tmp/{key}"}]}, "discarding makes no results"),
    ({"then": "remove"}, "'remove' is not delete, keep, move:"),
    ({"then": {"move": "s3://done/{name}{key}"}}, "at 1: {name} is a result's"),
    ({"then": {"move": {"bucket": "done"}}}, "move needs a bucket and a key"),
    ({"then": {"tag": {}}}, "tag is a mapping"),
    ({"then": {"tag": {str(i): "x" for i in range(11)}}}, "at most 10 tags"),
    ({"then": {"move": "s3://done/{key}", "tag": {"a": "b"}}}, "one of delete, keep, move and tag"),
])
def test_refused_at_start(fake, configured, prefix, config, reason):
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", [("a", b"x")])
    text = yaml.safe_dump({"program": ["cat"]} | config).replace("DRAINED", prefix + "1")
    config = {key: value for key, value in yaml.safe_load(text).items() if value is not None}
    result = configured(config, expect=USAGE)
    assert reason.replace("DRAINED", prefix + "1") in result.stderr
    assert fake.keys(prefix + "1") == ["a"]


def test_a_bucket_that_no_rule_matches_is_not_drained(fake, configured, prefix):
    fake.make_bucket(prefix + "in")
    fake.make_bucket(prefix + "out")
    fake.raw.fill(prefix + "in", [("a", b"x")])
    configured({"program": ["cat"], "rules": [{"buckets": prefix + "in", "output": f"s3://{prefix}out/{{key}}"}]})
    assert fake.keys(prefix + "in") == [] and fake.body(prefix + "out", "a") == b"x"


def test_check_looks_at_the_places(fake, froe, bucket, results, out):
    fake.make_bucket(results)
    good = froe.run("check", "--output", f"s3://{results}/{{key}}", "--output", f"{out}/{{key}}", "--then", f"move:s3://{results}/{{key}}")
    assert good.code == DRAINED, good
    assert f"ok    s3://{results}/{{key}}: may be written" in good.stdout
    assert f"ok    {out}/{{key}}: may be written" in good.stdout
    bad = froe.run("check", "--output", f"s3://{results}-missing/{{key}}", "--output", f"{out}/a/{{key}}")
    assert bad.code == USAGE and "FAIL" in bad.stdout and f"{out}/a/{{key}}: No such file or directory" in bad.stdout, bad


# ---- when it cannot be stored ----

@pytest.mark.core
def test_no_result_no_delete(server, froe, bucket, results):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    record = froe.recorder()
    froe.once("--output", f"s3://{results}/{{key}}", "--retries", 2, "--backoff", "50ms", program=record, expect=PARKED)
    assert server.keys(bucket) == ["a"]
    assert "processed, but its result could not be stored" in froe.parked()[0]["error"]
    assert len(froe.record.ended()) == 3  # each attempt runs the program again
    server.make_bucket(results)
    froe.parked_do("retry", "--all")
    froe.once("--output", f"s3://{results}/{{key}}", program=["cat"])
    assert server.keys(bucket) == [] and server.body(results, "a") == b"x"


@pytest.mark.core
@pytest.mark.parametrize("order", ["error op=put status=503 code=SlowDown p=0.3", "reset op=put p=0.2", "reset op=put applied=yes p=0.2",
                                   "error op=put status=500 p=0.2"])
def test_bad_destination(fake, froe, bucket, results, order):
    fake.make_bucket(results)
    bodies = {f"k{i}": random.randbytes(3000) for i in range(40)}
    fake.raw.fill(bucket, bodies.items())
    fake.misbehave(f"{order} bucket={results}")
    froe.once("--output", f"s3://{results}/{{key}}", "--retries", 8, "--backoff", "50ms", program=["cat"], timeout=100)
    fake.behave()
    assert fake.keys(bucket) == [] and {key: fake.body(results, key) for key in fake.keys(results)} == bodies


def test_directory_that_is_gone(fake, froe, bucket, out):
    fake.raw.fill(bucket, [("a", b"x")])
    args = ("--output", f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms")
    froe.once(*args, program=["sh", "-c", f"rm -rf {out}; cat"], expect=PARKED)
    assert "the directory cannot be opened: No such file or directory" in froe.parked()[0]["error"]
    assert fake.keys(bucket) == ["a"]
    out.mkdir()
    froe.parked_do("retry", "--all")
    froe.once(*args, program=["cat"])
    assert files(out) == {"a": b"x"} and fake.keys(bucket) == []


def test_timeout_while_storing(fake, froe, bucket, results):
    fake.make_bucket(results)
    fake.raw.fill(bucket, [("a", b"x")])
    fake.misbehave(f"latency op=put ms=20000 bucket={results}")
    froe.once("--output", f"s3://{results}/{{key}}", "--retries", 0, "--timeout", "1s", program=["cat"], expect=PARKED)
    assert fake.keys(bucket) == ["a"] and "timed out" in froe.parked()[0]["error"]


# ---- kill -9 ----

@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["bucket", "directory", "move"])
def test_killed_between_result_and_delete(fake, froe, bucket, results, out, kind):
    """30 times: once a result is there and before its object is deleted. No result is missing, no source was lost."""
    fake.make_bucket(results)
    fake.make_bucket(results + "-done")
    bodies = {f"d/k{i:03d}": random.randbytes(2000 + i) for i in range(90)}
    fake.raw.fill(bucket, bodies.items())
    fake.misbehave(f"latency op=delete ms=60 jitter=60 bucket={bucket}")
    output = f"{out}/{{key}}" if kind == "directory" else f"s3://{results}/{{key}}"
    then = ["--then", f"move:s3://{results}-done/{{key}}"] if kind == "move" else []

    def stored():
        return set(files(out)) if kind == "directory" else set(fake.keys(results))

    def nothing_lost():
        """Whatever is not there as an object any more is there as a result, whole."""
        left = set(fake.keys(bucket))
        for key in set(bodies) - left:
            body = (out / key).read_bytes() if kind == "directory" else fake.body(results, key)
            assert body == bodies[key], key
            if kind == "move":
                assert fake.body(results + "-done", key) == bodies[key], key
        return left

    kills = between = 0
    while kills < 30:
        before = stored()
        running = froe.start("run", "--once", "--max-runs-per-bucket", 4, "--output", output, *then, program=["cat"])
        end = time.monotonic() + 20
        while running.process.poll() is None and len(stored()) == len(before) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(random.random() * 0.05)
        if running.process.poll() is not None:
            break
        running.kill()
        kills += 1
        left = nothing_lost()
        between += bool(stored() & left)
        if len(left) < 10:  # more to do
            more = {f"m{kills}/k{i:03d}": random.randbytes(1000 + i) for i in range(60)}
            bodies |= more
            fake.raw.fill(bucket, more.items())
    assert kills == 30 and between >= 10, (kills, between)
    fake.behave()
    froe.once("--output", output, *then, program=["cat"], timeout=90)
    assert nothing_lost() == set() and froe.parked() == []
    if kind == "directory":  # a kill in the instant of a replacement may leave its temporary name
        assert {path: body for path, body in files(out).items() if ".froe-" not in path} == bodies

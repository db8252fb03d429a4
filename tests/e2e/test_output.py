"""Results: where they land, what they are called, and that no object is deleted before its result is durable. Each row of the tables
in docs/output.md has its test here, in test_output_failures.py or in test_then.py."""
import os
import random
import signal
import subprocess
import urllib.parse

import pytest
import servers
import yaml
from froe import DRAINED, PARKED, USAGE
from places import files

UPPER = ["tr", "a-z", "A-Z"]


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


@pytest.mark.needs("standard_ia")
def test_storage_class(server, configured, bucket, results):
    """Also of what is uploaded in parts. A HEAD of Ceph's does not tell the class, its listings do."""
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    server.s3.put_object(Bucket=bucket, Key="b", Body=bytes(6 << 20))
    configured({"program": ["cat"], "output": [
        {"bucket": results, "key": "infrequent/{key}", "storage_class": "STANDARD_IA", "part_size": "5MiB"},
        {"bucket": results, "key": "usual/{key}"}]})
    listed = server.s3.list_objects_v2(Bucket=results)["Contents"]
    assert {item["Key"]: item["StorageClass"] for item in listed} == {
        f"{name}/{key}": name_of for name, name_of in (("infrequent", "STANDARD_IA"), ("usual", "STANDARD")) for key in "ab"}
    assert server.keys(bucket) == []


@pytest.mark.needs("strict_auth")
def test_storage_class_that_is_not_there(server, configured, froe, bucket, results):
    """Refused by the server: told, and the object stays. The fake takes all that AWS has."""
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    config = {"program": ["cat"], "output": {"bucket": results, "key": "{key}", "storage_class": "NO_SUCH_CLASS"}, "retries": 0}
    configured(config, expect=PARKED)
    assert ": 400 Invalid" in froe.parked()[0]["error"] and server.keys(bucket) == ["a"] and server.keys(results) == []
    froe.parked_do("retry", "--all")
    configured(config | {"output": {"bucket": results, "key": "{key}", "storage_class": "STANDARD"}})
    assert server.keys(results) == ["a"] and server.keys(bucket) == []


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


@pytest.mark.needs("refused_parts")
def test_parts_of_a_failed_upload_go_away(server, configured, froe, bucket, results):
    """Begun, and then refused: on order by the fake, by a quota of the bucket on Ceph."""
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="large", Body=random.randbytes(11 << 20))
    server.s3.put_object(Bucket=bucket, Key="small", Body=b"x")
    code = server.refuse_parts(results)
    config = {"program": ["cat"], "output": {"bucket": results, "key": "{key}", "part_size": "5MiB"}, "retries": 0}
    configured(config, expect=PARKED)
    [parked] = froe.parked()
    assert f"PUT part of {results}/large (part " in parked["error"] and code in parked["error"] and "left behind" not in parked["error"]
    assert server.keys(bucket) == ["large"] and server.keys(results) == ["small"]
    assert server.s3.list_multipart_uploads(Bucket=results).get("Uploads", []) == []


@pytest.fixture
def other(folder, request):
    """A fake besides the test's server."""
    place = folder / "other"
    place.mkdir()
    other = servers.FakeServer(str(place), request.config.getoption("--build"))
    yield other
    other.stop()


def test_to_another_server(server, configured, bucket, other):
    """A bucket of the same name there is another bucket."""
    other.make_bucket(bucket)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x", Metadata={"m": "n"}, Tagging="k=v")
    configured({"program": ["cat"], "output": {"bucket": bucket, "key": "{key}", "endpoint": other.endpoint, "copy_metadata": True,
                                               "copy_tags": True}})
    assert other.body(bucket, "a") == b"x" and server.keys(bucket) == []
    assert other.s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {"m": "n"}
    assert other.s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == [{"Key": "k", "Value": "v"}]


@pytest.mark.needs("multipart")
def test_from_another_server(server, configured, prefix, results, other, froe):
    """The other way round, in one piece and in parts."""
    froe.server = other
    bodies = {"small": b"x", "large": random.randbytes(6 << 20)}
    other.make_bucket(prefix + "1")
    server.make_bucket(results)
    other.raw.fill(prefix + "1", bodies.items())
    configured({"program": ["cat"], "output": {"bucket": results, "key": "{key}", "endpoint": server.endpoint, "part_size": "5MiB"}})
    assert {key: server.body(results, key) for key in server.keys(results)} == bodies and other.keys(prefix + "1") == []


def test_another_region(server, configured, bucket, results):
    """A request that is signed for the bucket's region is not sent on. Ceph and moto have one region and take requests that
    are signed for any: that froe signs for the one that it was told is seen on the fake alone, which sends on what is not."""
    regions = "regions" in server.can
    server.make_bucket(results, region="eu-west-1" if regions else None)
    for number, more in enumerate(({"region": "eu-west-1"}, {})):
        before = server.redirects(server.stats()) if regions else 0
        server.s3.put_object(Bucket=bucket, Key=f"a{number}", Body=b"x")
        configured({"program": ["cat"], "output": {"bucket": results, "key": "{key}"} | more})
        if regions:
            assert (server.redirects(server.stats()) > before) == (not more)
    reader = server.client(region="eu-west-1") if regions else server.s3
    assert [reader.get_object(Bucket=results, Key=key)["Body"].read() for key in ("a0", "a1")] == [b"x", b"x"]
    assert server.keys(bucket) == []


# ---- into a directory ----

@pytest.mark.core
def test_into_a_directory(server, froe, bucket, out):
    bodies = {f"d{i % 3}/e/{i}.txt": f"body {i}".encode() for i in range(20)} | {"none": b"", "-x ..y": b"q"}
    for key, body in bodies.items():
        server.s3.put_object(Bucket=bucket, Key=key, Body=body)
    froe.once("--output", f"{out}/{{bucket}}/{{key}}", program=UPPER)
    assert server.keys(bucket) == []
    assert files(out) == {f"{bucket}/{key}": body.upper() for key, body in bodies.items()}


def test_relative_directory(server, froe, bucket, folder):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    (folder / "results").mkdir()
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", froe.prefix, "--output",
                           "results/{key}.out", program=["cat"])
    subprocess.run(command, cwd=folder, env=froe.env(), check=True, timeout=60, capture_output=True)
    assert files(folder / "results") == {"a.out": b"x"}


def test_a_directory_with_braces(server, configured, bucket, folder):
    (folder / "{key}").mkdir()
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    configured({"program": ["cat"], "output": {"directory": str(folder / "{key}"), "key": "{key}"}})
    assert files(folder / "{key}") == {"a": b"x"} and server.keys(bucket) == []


ODD = {"../x": "'..' means a directory", "a/../../x": "'..' means a directory", "./x": "'.' means a directory",
       ".": "'.' means a directory", "..": "'..' means a directory", "a/..": "'..' means a directory",
       "/abs/x": "begins or ends with '/'", "a//b": "two in a row", "a/b/": "begins or ends with '/'", "/": "begins or ends with '/'",
       "n" * 256: "at most 255 bytes", "d/" + "n" * 256 + "/x": "at most 255 bytes"}


@pytest.mark.core
@pytest.mark.needs("odd_keys")
def test_keys_that_cannot_be_files_are_parked(server, froe, bucket, out, folder):
    server.raw.fill(bucket, [(key, b"x") for key in [*ODD, "good", "n" * 255, "d/" + "n" * 255 + "/x"]])
    before = set(os.listdir(folder))
    froe.once("--output", f"{out}/{{key}}", program=["cat"], expect=PARKED)
    assert files(out) == {"good": b"x", "n" * 255: b"x", "d/" + "n" * 255 + "/x": b"x"} and sorted(server.keys(bucket)) == sorted(ODD)
    parked = {one["key"]: one for one in froe.parked()}
    for key, reason in ODD.items():
        assert reason in parked[key]["error"] and parked[key]["attempts"] == 1, key
    assert {name for name in set(os.listdir(folder)) - before if not name.startswith("froe-") and name != "state"} == set()
    assert not os.path.exists("/abs")


STRANGE = [b"a b", b" ", b"-rf", b"~", b"..a", b"...", b"a\\b", b"%2e%2e", b"%2F", b"$(x)`y`", b"'\"", b"\xc3\xa4", b"\xe2\x80\xae",
           b"new\nline", b"t\tab", b"\x01\x7f", b"*?[]", b".froe-x.tmp", b"CON", b"a:b"]


@pytest.mark.needs("odd_keys")
def test_any_other_bytes_are_a_name(server, froe, bucket, out):
    server.raw.fill(bucket, [(key, key) for key in STRANGE])
    froe.once("--output", f"{out}/{{key}}", program=["cat"])
    root = os.fsencode(out)
    found = {os.path.relpath(os.path.join(where, name), root) for where, _, names in os.walk(root) for name in names}
    assert found == set(STRANGE) and froe.parked() == [] and server.keys(bucket) == []
    assert all(open(os.path.join(root, key), "rb").read() == key for key in STRANGE)


@pytest.mark.needs("odd_keys")
def test_any_bytes_are_a_key(server, froe, bucket, results):
    """In a bucket all may be: what cannot be a file, too."""
    server.make_bucket(results)
    keys = [*STRANGE, b"../x", b"/abs", b"a//b", b"a/", b".", b"n" * 1000]
    server.raw.fill(bucket, [(key, key) for key in keys])
    froe.once("--output", f"s3://{results}/r-{{key}}", program=["cat"])
    assert server.keys(bucket) == [] and froe.parked() == []
    for key in keys:
        status, _, body = server.raw.request("GET", f"/{results}/r-{urllib.parse.quote(key, safe='/-_.~')}")
        assert (status, body) == (200, key), key


@pytest.mark.needs("odd_keys")
def test_links_are_not_followed(server, froe, bucket, out, folder):
    (folder / "outside").mkdir()
    (out / "link").symlink_to(folder / "outside")
    (out / "last").symlink_to(folder / "outside" / "file")
    server.raw.fill(bucket, [("link/a", b"x"), ("last", b"y")])
    froe.once("--output", f"{out}/{{key}}", "--retries", 0, program=["cat"], expect=PARKED)
    [parked] = froe.parked()
    assert parked["key"] == "link/a" and "a symbolic link 'link' where a directory must be" in parked["error"]
    assert list((folder / "outside").iterdir()) == []
    assert not (out / "last").is_symlink() and (out / "last").read_bytes() == b"y"  # the link itself was replaced


def test_a_key_that_is_the_directory_of_another(server, froe, bucket, out):
    server.raw.fill(bucket, [("a", b"1"), ("a/b", b"2")])
    froe.once("--output", f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms", "--max-runs-per-bucket", 1, program=["cat"],
              expect=PARKED)
    [left] = server.keys(bucket)
    [parked] = froe.parked()
    reason = {"a": "there is a directory of that name", "a/b": "a file or a symbolic link 'a' where a directory must be"}
    assert parked["key"] == left and reason[left] in parked["error"]
    assert files(out) == ({"a/b": b"2"} if left == "a" else {"a": b"1"})


def test_what_is_there_is_replaced(server, froe, bucket, results, out):
    """In one piece, in a bucket and in a directory, where nothing else is left."""
    server.make_bucket(results)
    for body in (b"first, and longer", b"second"):
        server.s3.put_object(Bucket=bucket, Key="d/a", Body=body)
        froe.once("--output", f"{out}/{{key}}", "--output", f"s3://{results}/{{key}}", program=["cat"])
        assert files(out) == {"d/a": body} and server.body(results, "d/a") == body
    assert [name for _, _, names in os.walk(out) for name in names] == ["a"]


# ---- names ----

@pytest.mark.parametrize("template, expected", [
    ("{bucket}/{key}", "BUCKET/a.b/c.tar.gz"), ("{dir}new-{base}", "a.b/new-c.tar.gz"), ("{stem}.txt", "a.b/c.tar.txt"),
    ("{stem}.{ext}", "a.b/c.tar.gz"), ("{ext}/{base}", "gz/c.tar.gz"), ("{etag}", "ETAG"), ("{key}{name}{version}", "a.b/c.tar.gz"),
    ("{date}/{base}", "DATE/c.tar.gz"), ("{year}-{month}-{day}/{hour}/{key}", "DATE/HOUR/a.b/c.tar.gz"), ("{{{base}}}", "{c.tar.gz}"),
])
def test_templates(fake, froe, bucket, out, template, expected):
    """One at a time; the next test has all of them on each server."""
    fake.s3.put_object(Bucket=bucket, Key="a.b/c.tar.gz", Body=b"x")
    head = fake.s3.head_object(Bucket=bucket, Key="a.b/c.tar.gz")
    froe.once("--output", f"{out}/{template}", program=["cat"])
    for name, value in (("BUCKET", bucket), ("ETAG", head["ETag"].strip('"')), ("DATE", head["LastModified"].strftime("%Y-%m-%d")),
                        ("HOUR", head["LastModified"].strftime("%H"))):
        expected = expected.replace(name, value)
    assert list(files(out)) == [expected]


def test_all_placeholders(server, configured, bucket, results):
    """On each server, whose headers they are made of."""
    versions = "versioning" in server.can
    server.make_bucket(results)
    if versions:
        server.set_versioning(bucket, "Enabled")
    server.s3.put_object(Bucket=bucket, Key="d/b.tar.gz", Body=b"x")
    head = server.s3.head_object(Bucket=bucket, Key="d/b.tar.gz")
    when = head["LastModified"]
    words = {"bucket": bucket, "key": "d/b.tar.gz", "dir": "d/", "base": "b.tar.gz", "stem": "d/b.tar", "ext": "gz", "name": "",
             "etag": head["ETag"].strip('"'), "version": head["VersionId"] if versions else "", "date": when.strftime("%Y-%m-%d"),
             "year": when.strftime("%Y"), "month": when.strftime("%m"), "day": when.strftime("%d"), "hour": when.strftime("%H")}
    templates = ["1/{bucket}/{key}", "2/{dir}x{base}", "3/{stem}.{ext}", "4/{name}{etag}", "5/{version}/{base}", "6/{date}/{key}",
                 "7/{year}/{month}/{day}/{hour}/{key}", "8/{{{base}}}"]
    configured({"program": ["cat"], "output": [f"s3://{results}/{template}" for template in templates]})
    assert server.keys(results) == sorted(template.format(**words) for template in templates)


@pytest.mark.needs("odd_keys")
def test_name_that_is_too_long(server, froe, bucket, results):
    server.make_bucket(results)
    server.raw.fill(bucket, [("k" * 1024, b"x"), ("k" * 1022, b"y")])
    froe.once("--output", f"s3://{results}/r/{{key}}", program=["cat"], expect=PARKED)
    assert server.keys(results) == ["r/" + "k" * 1022] and server.keys(bucket) == ["k" * 1024]
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


def test_results_that_would_have_one_name(server, configured, froe, bucket, out):
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"ab")
    configured({"pool": True, "program": ["/usr/bin/python3", "-c", WORKER], "output": f"{out}/{{key}}"}, expect=PARKED)
    assert "two results of this object would be called 'a'; put {name} into it" in froe.parked()[0]["error"]
    assert files(out) == {} and server.keys(bucket) == ["a"]


# ---- rules ----

def test_each_rule_has_its_own(server, configured, froe, bucket, results, out):
    server.make_bucket(results)
    (out / "general").mkdir()
    server.raw.fill(bucket, [("a.up", b"a"), ("b.low", b"B"), ("c.none", b"c"), ("d.drop", b"d"), ("e", b"e")])
    result = configured({"program": ["cat"], "output": f"{out}/general/{{key}}", "rules": [
        {"keys": "*.up", "handler": {"program": UPPER}, "output": f"s3://{results}/{{key}}"},
        {"keys": "*.low", "handler": {"program": ["tr", "A-Z", "a-z"]}},
        {"keys": "*.none", "output": "none"},
        {"keys": "*.drop", "handler": "discard"},
        {}]})
    assert server.body(results, "a.up") == b"A" and server.keys(results) == ["a.up"]
    assert files(out) == {"general/b.low": b"b", "general/e": b"e"}
    assert result.stdout == "c"  # as ever, froe's own
    assert server.keys(bucket) == []


@pytest.mark.parametrize("config, reason", [
    ({"output": "s3://DRAINED/{key}"}, "a result would land in 'DRAINED', which is drained itself"),
    ({"output": {"bucket": "DRAINED", "key": "{key}"}}, "a result would land in 'DRAINED', which is drained itself"),
    ({"rules": [{"buckets": "DRAINED"}, {"output": "s3://DRAINED/{key}"}]}, "and a rule matches it"),
    ({"output": {"bucket": "DRAINED", "key": "{key}", "region": "eu-west-1"}}, "which is drained itself"),
    ({"output": {"bucket": "DRAINED", "key": "{key}", "endpoint": "ENDPOINT"}}, "which is drained itself"),
    ({"output": {"bucket": "DRAINEDx", "key": "{key}"}}, "its name begins with the bucket prefix"),  # will be there, some day
    ({"rules": [{"keys": "*.x", "then": {"move": "s3://DRAINED/{key}"}}]}, "a moved object would land in 'DRAINED'"),
    ({"then": {"move": "s3://DRAINED/{key}"}}, "a moved object would land in 'DRAINED', which is drained itself"),
    ({"output": "s3://results/{stern}"}, "at 1: there is no {stern}"),
    ({"output": "s3://results/fixed"}, "the same for all objects"),
    ({"output": "s3://results"}, "names no key"),
    ({"output": "s3://Res ults/{key}"}, "bucket"),
    ({"output": "s3://{bucket}-done/{key}"}, "bucket"),  # which could be a drained one
    ({"then": {"move": "s3://{bucket}-done/{key}"}}, "bucket"),
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
    """Before any server is asked, so it does not matter which one there is."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", [("a", b"x")])
    before = fake.stats()["requests_total"]
    text = yaml.safe_dump({"program": ["cat"]} | config).replace("DRAINED", prefix + "1")
    text = text.replace("ENDPOINT", fake.endpoint.replace("127.0.0.1", "localhost") + "/")
    config = {key: value for key, value in yaml.safe_load(text).items() if value is not None}
    result = configured(config, expect=USAGE)
    assert reason.replace("DRAINED", prefix + "1") in result.stderr
    assert fake.stats()["requests_total"] == before
    assert fake.keys(prefix + "1") == ["a"]


def test_refused_after_a_reload(server, froe, prefix, folder, results):
    """A bucket prefix stays until a restart, so it is the old one that tells what is drained, and rules are the new ones."""
    server.make_bucket(prefix + "1")
    server.make_bucket(results)
    path = folder / "froe.yaml"

    def write(config):
        usual = {"bucket_prefix": prefix, "cron": "* * * * * *", "program": ["cat"], "store": f"sqlite:{froe.store}"}
        (folder / "part").write_text(yaml.safe_dump(usual | config))
        (folder / "part").rename(path)
    write({"output": f"s3://{results}/1/{{key}}"})
    running = froe.start("run", "--log", "json", "--config", path, plain=True)

    def reload(config, message):
        said = len(running.result().said(message))
        write(config)
        running.signal(signal.SIGHUP)
        running.until(message, lambda: len(running.result().said(message)) > said)
        return running.result().said(message)[-1]
    running.until("it works", froe.is_up)
    taken, refused = "the configuration file was read again", "the configuration file was not taken; the old one stays in force"
    drained = f"would land in '{prefix}1', which is drained itself"
    for config in ({"output": f"s3://{prefix}1/{{key}}"}, {"then": {"move": f"s3://{prefix}1/{{key}}"}},
                   {"bucket_prefix": "elsewhere-", "output": f"s3://{prefix}1/{{key}}"},
                   {"bucket_prefix": "elsewhere-", "rules": [{"buckets": "*", "then": {"move": f"s3://{prefix}1/{{key}}"}}]}):
        assert drained in reload(config, refused)["error"]
    server.raw.put(prefix + "1", "a", b"x")
    running.until("the old one holds", lambda: server.keys(prefix + "1") == [])
    assert server.keys(results) == ["1/a"]
    # What no rule matches is not drained any more, and results may land there.
    reload({"rules": [{"buckets": prefix + "2"}], "output": f"s3://{prefix}1/{{key}}"}, taken)
    server.make_bucket(prefix + "2")
    server.raw.put(prefix + "2", "b", b"y")
    running.until("the new one holds", lambda: server.keys(prefix + "2") == [])
    assert server.keys(prefix + "1") == ["b"] and server.keys(results) == ["1/a"]
    assert running.stop().code == DRAINED


def test_a_bucket_that_no_rule_matches_is_not_drained(server, configured, prefix):
    server.make_bucket(prefix + "in")
    server.make_bucket(prefix + "out")
    server.raw.fill(prefix + "in", [("a", b"x")])
    configured({"program": ["cat"], "rules": [{"buckets": prefix + "in", "output": f"s3://{prefix}out/{{key}}"}]})
    assert server.keys(prefix + "in") == [] and server.body(prefix + "out", "a") == b"x"


@pytest.mark.needs("multipart")
def test_check_looks_at_the_places(server, froe, bucket, results, out):
    server.make_bucket(results)
    good = froe.run("check", "--output", f"s3://{results}/{{key}}", "--output", f"{out}/{{key}}", "--then", f"move:s3://{results}/{{key}}")
    assert good.code == DRAINED, good
    assert f"ok    s3://{results}/{{key}}: may be written" in good.stdout
    assert f"ok    {out}/{{key}}: may be written" in good.stdout
    bad = froe.run("check", "--output", f"s3://{results}-missing/{{key}}", "--output", f"{out}/a/{{key}}")
    assert bad.code == USAGE and "FAIL" in bad.stdout and f"{out}/a/{{key}}: No such file or directory" in bad.stdout, bad

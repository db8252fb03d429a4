"""Configuration files: what they say is done, who says otherwise wins, they can be shown and read again."""
import gzip
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time

import jsonschema
import pytest
import yaml
from froe import DRAINED, PARKED, USAGE, processes_of

EXAMPLES = sorted((pathlib.Path(__file__).parents[2] / "examples/config").glob("*.yaml"))


@pytest.fixture
def write(folder):
    def write(config, name="froe.yaml"):
        path = folder / name
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return path
    return write


@pytest.fixture
def once(froe):
    """Until drained, with that file and no options beside it that it could give."""
    def once(config, *args, expect=DRAINED, **more):
        result = froe.run("run", "--once", "--log", "json", "--config", config, *args, plain=True, **more)
        assert result.code == expect, result
        return result
    return once


def to(path):
    """A program that notes the keys it is given there."""
    return {"program": ["sh", "-c", f"cat >/dev/null; echo \"$FROE_KEY\" >>{path}"]}


def noted(path):
    return sorted(path.read_text().split()) if path.exists() else []


def base(froe, prefix, **more):
    return {"bucket_prefix": prefix, "store": f"sqlite:{froe.store}", **more}


@pytest.mark.core
def test_options_of_a_file(fake, froe, prefix, write, once):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((key, b"x") for key in ("a.png", "b.txt", "c.png", "d.gif")))
    config = write(base(froe, prefix, include=["*.png", "*.gif"], exclude="c*", slots=2,
                        program=[str(word) for word in froe.recorder()]))
    once(config)
    assert fake.keys(bucket) == ["b.txt", "c.png"]
    assert sorted(key for _, key in froe.record.ended()) == ["a.png", "d.gif"]
    once(config, "--include", "*.txt", "--discard")  # which wins over the file's, list and program
    assert fake.keys(bucket) == ["c.png"]
    result = froe.run("run", "--once", plain=True, env={"FROE_CONFIG": config, "FROE_EXCLUDE": "nothing"})
    assert result.code == DRAINED, result
    assert fake.keys(bucket) == []
    status = froe.run("status", "--json", "--config", config, plain=True)  # takes the store from there
    assert [found["bucket"] for found in json.loads(status.stdout)["buckets"]] == [bucket]


@pytest.mark.core
def test_rules(server, froe, prefix, folder, write, once):
    """Each object by the first rule that matches it, whatever that looks at; what none matches stays and is counted."""
    photos, events, other = prefix + "photos", prefix + "events", prefix + "other"
    for bucket in (photos, events, other):
        server.make_bucket(bucket)
    put = server.s3.put_object
    put(Bucket=photos, Key="small.jpg", Body=b"x")
    put(Bucket=photos, Key="big.jpg", Body=b"x" * 5000)
    put(Bucket=photos, Key="thumbs/a.jpg", Body=b"x")
    put(Bucket=photos, Key="typed", Body=b"x", ContentType="image/jpeg")
    put(Bucket=photos, Key="untyped", Body=b"x", ContentType="text/plain")
    put(Bucket=events, Key="test", Body=b"x", Metadata={"class": "test"})
    put(Bucket=events, Key="real", Body=b"x", Metadata={"class": "real"})
    put(Bucket=events, Key="plain", Body=b"x")
    put(Bucket=other, Key="small.jpg", Body=b"x")
    config = write(base(froe, prefix, rules=[
        {"buckets": f"{prefix}ph*", "keys": {"include": "*.jpg", "exclude": "thumbs/*"}, "when": "size > 1000",
         "handler": to(folder / "big")},
        {"buckets": [photos], "keys": {"include": ["*.jpg"], "exclude": ["thumbs/*"]}, "handler": to(folder / "small")},
        {"buckets": photos, "when": "content_type == 'image/jpeg' && !key.startsWith('thumbs/')", "handler": to(folder / "typed")},
        {"buckets": events, "when": "has(metadata.class) && metadata.class == 'test'", "handler": "discard"},
        {"buckets": events, "when": "last_modified > timestamp('2020-01-01T00:00:00Z') && etag != 'x' && size == 1",
         "handler": to(folder / "events")},
    ]))
    once(config)
    assert noted(folder / "big") == ["big.jpg"]
    assert noted(folder / "small") == ["small.jpg"]
    assert noted(folder / "typed") == ["typed"]
    assert noted(folder / "events") == ["plain", "real"]
    assert sorted(server.keys(photos)) == ["thumbs/a.jpg", "untyped"]
    assert server.keys(events) == []
    assert server.keys(other) == ["small.jpg"]  # no rule wants anything of that bucket
    assert froe.status_of(photos)["skipped"]["no_rule"] == 2
    assert froe.status_of(events)["skipped"]["no_rule"] == 0
    assert froe.parked() == []


def test_rules_say_attempts_time_and_age(fake, froe, prefix, folder, write, once):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((key, b"x") for key in ("fails-never", "fails-twice", "hangs", "young", "general")))
    fails = ["sh", "-c", f"cat >/dev/null; echo \"$FROE_KEY\" >>{folder / 'tries'}; exit 1"]
    config = write(base(froe, prefix, retries=1, backoff="1ms", program=fails, rules=[
        {"keys": "fails-never", "retries": 0},
        {"keys": "fails-twice", "retries": 2, "when": "content_type != 'x'"},
        {"keys": "hangs", "timeout": "300ms", "retries": 0, "handler": {"program": ["sleep", "60"]}},
        {"keys": "young", "min_age": "1h"},
        {},
    ]))
    began = time.time()
    once(config, expect=PARKED)
    assert time.time() - began < 30
    assert noted(folder / "tries") == ["fails-never"] + 3 * ["fails-twice"] + 2 * ["general"]
    assert fake.keys(bucket) == ["fails-never", "fails-twice", "general", "hangs", "young"]
    assert froe.status_of(bucket)["skipped"]["too_young"] == 1
    parked = {item["key"]: item for item in froe.parked()}
    assert sorted(parked) == ["fails-never", "fails-twice", "general", "hangs"]
    assert {key: item["attempts"] for key, item in parked.items()} == {
        "fails-never": 1, "fails-twice": 3, "general": 2, "hangs": 1}
    assert parked["hangs"]["error"].startswith("timed out after 3"), parked["hangs"]


def test_a_pool_for_each_rule(fake, froe, prefix, folder, write):
    """Each has workers of its own, and those of rules that are gone end."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    worker = ("import json, sys\n"
              "for line in sys.stdin.buffer:\n"
              "    job = json.loads(line)\n"
              "    sys.stdin.buffer.read(job['body_bytes'])\n"
              "    open(sys.argv[1], 'a').write(job['key'] + chr(10))\n"
              "    print(json.dumps({'id': job['id'], 'status': 'ok'}), flush=True)\n")

    def pool(name):
        return {"pool": ["/usr/bin/python3", "-c", worker, str(folder / name)]}

    more = {"cron": "* * * * * *", "pool_workers": 1}
    config = write(base(froe, prefix, **more, rules=[{"keys": "a*", "handler": pool("one")}, {"handler": pool("two")}]))
    fake.raw.fill(bucket, ((key, b"body") for key in ("a1", "a2", "b1")))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("all are gone", lambda: fake.keys(bucket) == [])
    assert len(processes_of(str(folder / "one"))) == 1
    write(base(froe, prefix, **more, rules=[{"handler": pool("two")}]))
    running.signal(signal.SIGHUP)
    running.until("its worker is gone", lambda: processes_of(str(folder / "one")) == [])
    fake.raw.put(bucket, "a3", b"body")
    running.until("it is gone", lambda: fake.keys(bucket) == [])
    assert running.stop().code == DRAINED
    assert (noted(folder / "one"), noted(folder / "two")) == (["a1", "a2"], ["a3", "b1"])
    assert processes_of(str(folder / "two")) == []


def test_what_cannot_be_decided_is_parked(fake, froe, prefix, write, once):
    """And not left to the next rule, which deletes."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "plain", b"x")
    once(write(base(froe, prefix, rules=[{"when": "metadata.class == 'keep'", "handler": {"program": ["cat"]}},
                                         {"handler": "discard"}])), expect=PARKED)
    assert fake.keys(bucket) == ["plain"]
    assert froe.parked()[0]["error"] == "rule 1: when: line 1, column 10: there is no metadata.class"
    assert froe.parked()[0]["attempts"] == 1


def test_dry_run(fake, froe, prefix, write, once):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((key, b"x") for key in ("a.log", "b", "c.log")))
    result = once(write(base(froe, prefix, rules=[{"keys": "*.log", "handler": "discard"}])), "--dry-run")
    assert "would process and delete 2 objects" in result.stdout and "skip 1 no_rule" in result.stdout
    assert len(fake.keys(bucket)) == 3


@pytest.mark.core
def test_reload(fake, froe, prefix, folder, write):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    config = write(base(froe, prefix, cron="* * * * * *", rules=[{"keys": "*.a", "handler": to(folder / "one")}]))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    fake.raw.fill(bucket, (("1.a", b"x"), ("1.b", b"x")))
    running.until("the first is gone", lambda: fake.keys(bucket) == ["1.b"])

    def said(text):
        return [line for line in running.result().log if line["message"].startswith(text)]

    write("rules: [\n")  # broken: the old one stays
    running.signal(signal.SIGHUP)
    running.until("it says so", lambda: said("the configuration file was not taken"))
    assert f"{config}:" in said("the configuration file was not taken")[0]["error"]
    fake.raw.put(bucket, "2.a", b"x")
    running.until("the old rules hold", lambda: fake.keys(bucket) == ["1.b"])

    write(base(froe, prefix, cron="* * * * * *", rules=[{"handler": {"program": ["no-such-program-at-all"]}}]))
    running.signal(signal.SIGHUP)
    running.until("it says so again", lambda: len(said("the configuration file was not taken")) == 2)
    assert "rule 1" in said("the configuration file was not taken")[1]["error"]

    write(base(froe, prefix, cron="* * * * * *", slots=3, rules=[{"keys": "*.b", "handler": to(folder / "two")}]))
    running.signal(signal.SIGHUP)
    running.until("the new rules hold", lambda: fake.keys(bucket) == [])
    fake.raw.put(bucket, "3.a", b"x")
    running.until("and the old ones no more", lambda: (froe.status_of(bucket) or {"skipped": {}})["skipped"].get("no_rule"))
    assert fake.keys(bucket) == ["3.a"]
    assert said("the configuration file has other values that need a restart")[0]["keys"] == "slots"
    assert running.stop().code == DRAINED
    assert (noted(folder / "one"), noted(folder / "two")) == (["1.a", "2.a"], ["1.b"])


def test_reload_while_objects_run(fake, froe, prefix, folder, write):
    """What was begun ends by the rules under which it was begun, and its handler lives as long."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    go = folder / "go"
    waits = {"program": ["sh", "-c", f"cat >/dev/null; while [ ! -e {go} ]; do sleep 0.05; done; echo done >>{folder / 'waited'}"]}
    config = write(base(froe, prefix, rules=[{"handler": waits}]))
    fake.raw.fill(bucket, ((str(n), b"x") for n in range(5)))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("they run", lambda: (froe.status_of(bucket) or {}).get("running") == 5)
    for _ in range(10):
        write(base(froe, prefix, rules=[{"handler": "discard"}]))
        running.signal(signal.SIGHUP)
        time.sleep(0.05)
    running.until("it was read", lambda: running.result().said("the configuration file was read again"))
    go.touch()
    running.until("all are gone", lambda: fake.keys(bucket) == [])
    assert running.stop().code == DRAINED
    assert noted(folder / "waited") == 5 * ["done"]


def test_show(froe, write, prefix):
    config = write(f"slots: 12\nbucket_prefix: {prefix}\nstore: postgres://u:sEcReT@h/db\nhistory_size: 64MiB\n"
                   "rules:\n  - keys: a\n    handler: discard\n    retries: 9\n")
    result = froe.run("config", "show", "--json", "--config", config, "--max-pollers", 3, plain=True, env={"FROE_TIMEOUT": "9s"})
    assert result.code == DRAINED, result
    shown = json.loads(result.stdout)
    values = {item["key"]: (item["value"], item["from"]) for item in shown["options"]}
    assert values["slots"] == (12, f"{config}:1")
    assert values["max_pollers"] == (3, "command line")
    assert values["timeout"] == ("9s", "variable FROE_TIMEOUT")
    assert values["retries"] == (3, "default")
    assert values["store"] == ("postgres://u:***@h/db", f"{config}:3")
    assert values["history_size"] == ("64MiB", f"{config}:4")
    assert values["program"] == (None, "default")
    assert [(rule["from"], rule["handler"], rule["retries"], rule["timeout"]) for rule in shown["rules"]] == [
        (f"{config}:6", "discard", 9, "9s")]
    people = froe.run("config", "show", "--config", config, plain=True)
    assert "sEcReT" not in result.stdout + people.stdout
    assert f"slots                12   ({config}:1)" in people.stdout


def test_check(froe, write):
    assert froe.run("config", "check", write("slots: 3\n"), plain=True).stdout.endswith(": fine: 1 keys, 0 rules\n")
    broken = write("slots: 3\nretry: 4\n")
    for args in (["config", "check", broken], ["run", "--config", broken, "--discard"]):
        result = froe.run(*args, plain=True)
        assert (result.code, result.stderr) == (USAGE, f"froe: {broken}:2:1: unknown key 'retry'; did you mean retries?\n")
    result = froe.run("config", "check", plain=True)
    assert result.code == USAGE and "FROE_CONFIG" in result.stderr


@pytest.fixture(scope="module")
def schema(request):
    program = pathlib.Path(request.config.getoption("--build"), "src/cli/froe").resolve()
    wrapper = request.config.getoption("--wrapper").split()
    schema = json.loads(subprocess.check_output([*wrapper, program, "config", "schema"]))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_right(froe, schema, path):
    assert froe.run("config", "check", path, plain=True).code == DRAINED
    assert [error.message for error in schema.iter_errors(yaml.safe_load(path.read_text()))] == []


def test_an_example_has_every_key(schema):
    everything = yaml.safe_load(next(path for path in EXAMPLES if path.stem == "everything").read_text())
    assert sorted(set(everything) | {"discard", "image", "plugin"}) == sorted(schema.schema["properties"])
    keys = {key for rule in everything["rules"] for key in rule}
    known = schema.schema["properties"]["rules"]["items"]["properties"]
    assert keys == {key for key, value in known.items() if value is not False}


@pytest.mark.parametrize("text", [
    "slots: many", "slots: '3'", "slots: 0", "slots: 10001", "slot: 3", "once: 1", "timeout: 60", "history_size: x", "include: []",
    "program: ls", "program: []", "rules: []", "rules: {}", "rules: [{bucket: x}]", "rules: [{handler: delete}]",
    "rules: [{handler: {}}]", "rules: [{handler: {program: []}}]", "rules: [{retries: -1}]", "rules: [{max_runs_per_bucket: 3}]",
    "rules: [{keys: {includes: a}}]", "rules: [{timeout: 5}]", "store: mysql://x", "log: xml", "log_level: loud", "slots:",
    "output: x", "output: []", "output: {bucket: b}", "output: {key: '{key}'}", "output: {bucket: b, key: '{key}', kex: 1}",
    "output: {directory: d, key: '{key}', region: r}", "then: remove", "then: {}", "then: {move: done}", "then: {tag: {}}",
    "then: {move: {bucket: b}}", "rules: [{output: 3}]", "rules: [{then: {keep: yes}}]",
    "rules: [{when: ''}]", "bucket_prefix: ''", "cron: ''", "rules: [{keys: []}]",
    "confine: maybe", "confine: [no]", "allow_network: perhaps", "allow_write: here", "allow_write: []", "limit_memory: much",
    "limit_cpu: 5", "limit_files: -1", "nice: 20", "plugin: x.so", "plugin: []", "rules: [{handler: {plugin: []}}]",
    "rules: [{confine: maybe}]", "rules: [{nice: 20}]", "rules: [{allow_write: here}]",
])
def test_what_the_schema_refuses_froe_refuses(froe, schema, write, text):
    assert list(schema.iter_errors(yaml.safe_load(text)))
    assert froe.run("config", "check", write(text), plain=True).code == USAGE


@pytest.mark.parametrize("name", ["logs", "classes"])
def test_examples_do_what_they_say(fake, froe, prefix, folder, once, write, name):
    """With this test's prefix in place of theirs."""
    text = next(path for path in EXAMPLES if path.stem == name).read_text()
    own = {"logs": "logs-", "classes": "in-"}[name]
    text = text.replace(f"bucket_prefix: {own}", f"bucket_prefix: {prefix}").replace(f"buckets: {own}", f"buckets: {prefix}")
    places = {place: f"{place}-{prefix}x" for place in ("packed-logs", "orders-done", "checksums")}
    for place, here in places.items():
        fake.make_bucket(here)
        text = text.replace(place, here)
    config = write(text)
    put = fake.s3.put_object
    store = ["--store", f"sqlite:{froe.store}"]
    if name == "logs":
        fake.make_bucket(prefix + "1")
        for key, body in (("d/a.log", b"hello\nx DEBUG y\n"), ("b.log.1", b"world\n"), ("empty.log", b""), ("readme", b"x")):
            put(Bucket=prefix + "1", Key=key, Body=body)
        once(config, *store)
        assert fake.keys(prefix + "1") == ["readme"]
        packed = {key: gzip.decompress(fake.body(places["packed-logs"], key)) for key in fake.keys(places["packed-logs"])}
        day = time.strftime("%Y-%m-%d", time.gmtime())
        assert packed == {f"{prefix}1/{day}/d/a.log.gz": b"hello\n", f"{prefix}1/{day}/b.log.1.gz": b"world\n"}
        return
    for bucket in ("orders", "pictures", "events"):
        fake.make_bucket(prefix + bucket)
    put(Bucket=prefix + "orders", Key="1.json", Body=b"{}")
    put(Bucket=prefix + "orders", Key="1.xml", Body=b"<x/>")
    put(Bucket=prefix + "pictures", Key="a", Body=b"jpeg", ContentType="image/jpeg")
    put(Bucket=prefix + "pictures", Key="b", Body=b"text", ContentType="text/plain")
    put(Bucket=prefix + "events", Key="t", Body=b"tested", Metadata={"test": "yes"})
    put(Bucket=prefix + "events", Key="r", Body=b"real")
    for _ in range(2):
        once(config, *store)
    assert fake.keys(prefix + "orders") == ["1.xml"]
    [moved] = fake.keys(places["orders-done"])
    assert moved.endswith("/1.json") and fake.body(places["orders-done"], moved) == b"{}"
    assert fake.keys(prefix + "pictures") == ["a", "b"]
    assert fake.s3.get_object_tagging(Bucket=prefix + "pictures", Key="a")["TagSet"] == [{"Key": "checked", "Value": "yes"}]
    assert fake.keys(places["checksums"]) == ["a.sha256"]
    assert fake.body(places["checksums"], "a.sha256").split() == [hashlib.sha256(b"jpeg").hexdigest().encode(), b"-"]
    assert fake.keys(prefix + "events") == []
    assert (froe.home / "events").read_bytes() == b"real"
    assert sorted(path.suffix for path in froe.home.iterdir() if path.is_file() and path.suffix) == [".order"]


def test_hangup_without_a_file_ends_it(fake, froe, prefix):
    """As it always did: there is nothing to read again."""
    fake.make_bucket(prefix + "1")
    running = froe.start("run", "--discard")
    running.until("it is up", froe.is_up)
    os.kill(running.pid, signal.SIGHUP)
    running.process.wait(20)
    assert running.process.returncode == -signal.SIGHUP

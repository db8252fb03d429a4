"""Rules of a configuration file: each row of the tables in docs/config.md, and which of them an object falls under."""
import datetime
import hashlib
import json
import pathlib
import signal
import time

import pytest
from configs import base, noted, once, to, write  # noqa: F401 - two are fixtures
from froe import DRAINED, PARKED, USAGE, processes_of


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
    [summary] = once(config).said("drained")
    assert (summary["objects"], summary["skipped"], summary["no_rule"]) == (6, 3, 3)
    assert noted(folder / "big") == ["big.jpg"]
    assert noted(folder / "small") == ["small.jpg"]
    assert noted(folder / "typed") == ["typed"]
    assert noted(folder / "events") == ["plain", "real"]
    assert sorted(server.keys(photos)) == ["thumbs/a.jpg", "untyped"]
    assert server.keys(events) == []
    assert server.keys(other) == ["small.jpg"]  # no rule wants anything of that bucket
    assert froe.status_of(photos)["skipped"]["no_rule"] == 2
    assert froe.status_of(other)["skipped"]["no_rule"] == 1
    assert froe.status_of(events)["skipped"]["no_rule"] == 0
    assert froe.status_of(photos)["failed"] == 0  # to be left alone is no failure
    assert froe.parked() == []


def test_attempts_time_and_age(server, froe, prefix, folder, write, once):
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((key, b"x") for key in ("fails-never", "fails-twice", "hangs", "young", "general")))
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
    assert server.keys(bucket) == ["fails-never", "fails-twice", "general", "hangs", "young"]
    assert froe.status_of(bucket)["skipped"]["too_young"] == 1
    parked = {item["key"]: item for item in froe.parked()}
    assert sorted(parked) == ["fails-never", "fails-twice", "general", "hangs"]
    assert {key: item["attempts"] for key, item in parked.items()} == {
        "fails-never": 1, "fails-twice": 3, "general": 2, "hangs": 1}
    assert parked["hangs"]["error"].startswith("timed out after 3"), parked["hangs"]


def test_a_pool_for_each_rule(server, froe, prefix, folder, write):
    """Each has workers of its own, and those of rules that are gone end."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
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
    server.raw.fill(bucket, ((key, b"body") for key in ("a1", "a2", "b1")))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("all are gone", lambda: server.keys(bucket) == [])
    assert len(processes_of(str(folder / "one"))) == 1
    write(base(froe, prefix, **more, rules=[{"handler": pool("two")}]))
    running.signal(signal.SIGHUP)
    running.until("its worker is gone", lambda: processes_of(str(folder / "one")) == [])
    server.raw.put(bucket, "a3", b"body")
    running.until("it is gone", lambda: server.keys(bucket) == [])
    assert running.stop().code == DRAINED
    assert (noted(folder / "one"), noted(folder / "two")) == (["a1", "a2"], ["a3", "b1"])
    assert processes_of(str(folder / "two")) == []


def test_what_cannot_be_decided_is_parked(server, froe, prefix, write, once):
    """And not left to the next rule, which deletes."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.put(bucket, "plain", b"x")
    once(write(base(froe, prefix, rules=[{"when": "metadata.class == 'keep'", "handler": {"program": ["cat"]}},
                                         {"handler": "discard"}])), expect=PARKED)
    assert server.keys(bucket) == ["plain"]
    assert froe.parked()[0]["error"] == "rule 1: when: line 1, column 10: there is no metadata.class"
    assert froe.parked()[0]["attempts"] == 1


def test_dry_run(fake, froe, prefix, write, once):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((key, b"x") for key in ("a.log", "b", "c.log")))
    result = once(write(base(froe, prefix, rules=[{"keys": "*.log", "handler": "discard"}])), "--dry-run")
    assert "would process and delete 2 objects" in result.stdout and "skip 1 no_rule" in result.stdout
    assert len(fake.keys(bucket)) == 3


def test_each_name_of_an_expression(server, froe, prefix, folder, write, once):
    """Each alone picks one object out, and what it takes for it is what the server has."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    put = server.s3.put_object
    put(Bucket=bucket, Key="by-bucket-and-key", Body=b"1")
    put(Bucket=bucket, Key="by-size", Body=b"x" * 4321)
    put(Bucket=bucket, Key="by-etag", Body=b"etag")
    put(Bucket=bucket, Key="by-type", Body=b"2", ContentType="text/csv")
    put(Bucket=bucket, Key="by-metadata", Body=b"3", Metadata={"class": "raw", "other": "x"})
    put(Bucket=bucket, Key="left", Body=b"4")
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    says = {
        "never": f"last_modified > timestamp('{soon:%Y-%m-%dT%H:%M:%SZ}')",
        "bucket": f"bucket == '{bucket}' && key.endsWith('-and-key')",
        "size": "size == 4321",
        "etag": f"etag == '{hashlib.md5(b'etag').hexdigest()}'",
        "type": "content_type == 'text/csv'",
        "metadata": "'class' in metadata && metadata['class'] == 'raw' && metadata.other == 'x'",
    }
    config = write(base(froe, prefix, rules=[{"when": when, "handler": to(folder / name)} for name, when in says.items()]))
    once(config)
    found = {name: noted(folder / name) for name in says}
    assert found == {"never": [], "bucket": ["by-bucket-and-key"], "size": ["by-size"], "etag": ["by-etag"], "type": ["by-type"],
                     "metadata": ["by-metadata"]}
    assert server.keys(bucket) == ["left"] and froe.status_of(bucket)["skipped"]["no_rule"] == 1
    once(write(base(froe, prefix, rules=[{"when": f"last_modified < timestamp('{soon:%Y-%m-%dT%H:%M:%SZ}')", "handler": "discard"}])))
    assert server.keys(bucket) == []


def test_what_asking_costs(fake, froe, prefix, write, once):
    """Nothing is read of an object that a listing can tell is left alone; and once what it cannot."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"{kind}{i}", b"x" * 1000) for i in range(10) for kind in ("listed", "read")))

    def asked(*rules):
        """(GETs, objects that no rule matched)"""
        before = fake.stats()["buckets"][prefix + "1"]["gets"]
        [summary] = once(write(base(froe, prefix, rules=[{**rule, "handler": "discard"} for rule in rules]))).said("drained")
        return fake.stats()["buckets"][prefix + "1"]["gets"] - before, summary["no_rule"]
    assert asked({"when": "size > 5000 && key.startsWith('l')"}, {"keys": "x*", "when": "content_type == 'a'"}) == (0, 20)
    assert asked({"keys": "read*", "when": "metadata.size() > 0"}) == (10, 20)
    assert len(fake.keys(prefix + "1")) == 20
    assert asked({"keys": "listed*"}, {"when": "content_type != 'a'"}) == (20, 0)
    assert fake.keys(prefix + "1") == []


def test_handlers(server, froe, prefix, folder, write, once, request):
    """One of each kind, and the general one for rules without."""
    build = pathlib.Path(request.config.getoption("--build")).resolve()
    worker = pathlib.Path(__file__).parents[2] / "examples/pool/worker.py"
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.fill(bucket, ((key, b"some text\n") for key in ("discard", "general", "plugin", "pool", "program")))
    done = "done-" + prefix.rstrip("-")
    server.make_bucket(done)
    once(write(base(froe, prefix, program=["sh", "-c", "cat >/dev/null; echo general"], output=f"s3://{done}/{{key}}", rules=[
        {"keys": "discard", "handler": "discard", "output": "none"},
        {"keys": "program", "handler": {"program": ["tr", "a-z", "A-Z"]}},
        {"keys": "pool", "handler": {"pool": ["/usr/bin/python3", str(worker)]}},
        {"keys": "plugin", "handler": {"plugin": [str(build / "examples/upper.so")]}},
        {},
    ])))
    assert froe.parked() == [] and server.keys(bucket) == []
    assert {key: server.body(done, key) for key in server.keys(done)}.keys() >= {"general", "plugin", "program"}
    assert (server.body(done, "general"), server.body(done, "program")) == (b"general\n", b"SOME TEXT\n")
    assert server.body(done, "plugin") == b"SOME TEXT\n"
    assert "discard" not in server.keys(done)


def test_output_and_then(server, froe, prefix, folder, write, once):
    """A rule's own in place of the general ones; each object by its own rule."""
    bucket, done = prefix + "1", "done-" + prefix.rstrip("-")
    for name in (bucket, done):
        server.make_bucket(name)
    keys = ("general", "here", "kept", "moved", "nowhere", "tagged")
    server.raw.fill(bucket, ((key, key.encode()) for key in keys))
    once(write(base(froe, prefix, program=["cat"], output=f"s3://{done}/general/{{key}}", then="delete", rules=[
        {"keys": "here", "output": f"{folder}/{{key}}.out"},
        {"keys": "kept", "then": "keep"},
        {"keys": "moved", "output": "none", "then": {"move": f"s3://{done}/moved/{{key}}"}},
        {"keys": "nowhere", "output": "none"},
        {"keys": "tagged", "output": {"bucket": done, "key": "own/{key}"}, "then": {"tag": {"state": "done"}}},
        {},
    ])))
    assert froe.parked() == [] and server.keys(bucket) == ["kept", "tagged"]
    assert {key: server.body(done, key).decode() for key in server.keys(done)} == {
        "general/general": "general", "general/kept": "kept", "moved/moved": "moved", "own/tagged": "tagged"}
    assert (folder / "here.out").read_text() == "here"
    assert server.s3.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"] == [{"Key": "state", "Value": "done"}]


def test_caps(server, froe, prefix, folder, write):
    """Of whole buckets: the first rule with one that wants anything of the bucket says it; and they are all made use of."""
    caps = {"low": 1, "high": 5, "general": 2}
    go = folder / "go"
    for name in caps:
        server.make_bucket(prefix + name)
        server.raw.fill(prefix + name, ((f"{i}.{kind}", b"x") for i in range(4) for kind in "ab"))
    waits = ["sh", "-c", f"while [ ! -e {go} ]; do sleep 0.05; done; exec \"$@\"", "-", *map(str, froe.recorder())]
    config = write(base(froe, prefix, max_runs_per_bucket=2, slots=20, program=waits, rules=[
        {"buckets": prefix + "low", "keys": "*.a", "max_runs_per_bucket": 1},
        {"buckets": [prefix + "h*", prefix + "low"], "max_runs_per_bucket": 5},
        {}]))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)

    def now():
        return {name: (froe.status_of(prefix + name) or {}).get("running") for name in caps} if froe.store.exists() else {}
    running.until("each has as many as it may", lambda: now() == caps)
    assert {name: froe.status_of(prefix + name)["max_runs"] for name in caps} == caps
    time.sleep(0.3)  # no more are started
    assert now() == caps
    go.touch()
    running.until("all are gone", lambda: not any(server.keys(prefix + name) for name in caps))
    write(base(froe, prefix, max_runs_per_bucket=2, slots=20, program=waits, rules=[{"max_runs_per_bucket": 3}]))
    running.signal(signal.SIGHUP)
    running.until("what waits is named", lambda: [line for line in running.result().log if "need a restart" in line["message"]])
    [line] = [line for line in running.result().log if "need a restart" in line["message"]]
    assert line["keys"] == "max_runs_per_bucket of rules"
    assert running.stop().code == DRAINED


def test_the_command_line_beside_rules(fake, froe, prefix, folder, write, once):
    """It wins over what the file says of all; what a rule says, it says of its own."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((key, b"x") for key in ("own", "general")))
    fails = ["sh", "-c", f"echo \"$FROE_KEY\" >>{folder / 'tries'}; exit 1"]
    config = write(base(froe, prefix, retries=0, backoff="1ms", program=fails, rules=[{"keys": "own", "retries": 1}, {}]))
    once(config, "--retries", 2, expect=PARKED)
    assert noted(folder / "tries") == 3 * ["general"] + 2 * ["own"]


def test_check_looks_for_handlers(fake, froe, prefix, folder, write):
    """What a run would not find it is told of before, by rule; nothing of it is run."""
    fake.make_bucket(prefix + "1")
    ran = folder / "ran"
    there = {"program": ["sh", "-c", f"touch {ran}"]}
    fine = froe.run("check", "--config", write(base(froe, prefix, program=["cat"], rules=[{"keys": "a", "handler": there}, {}])), plain=True)
    assert fine.code == DRAINED and "ok    program of rule 1: /" in fine.stdout and "ok    program: /" in fine.stdout, fine
    config = write(base(froe, prefix, rules=[
        {"keys": "a", "handler": there}, {"keys": "b", "handler": {"pool": ["no-such-program-at-all"]}},
        {"keys": "c", "handler": {"plugin": [str(folder / "none.so")]}}]))
    result = froe.run("check", "--config", config, plain=True)
    assert result.code == USAGE, result
    assert "FAIL  pool of rule 2: " in result.stdout and "FAIL  plugin of rule 3: " in result.stdout
    found = json.loads(froe.run("check", "--json", "--config", config, plain=True).stdout)
    assert not found["ok"] and [(item["rule"], item["handler"], item["ok"]) for item in found["handlers"]] == [
        (1, "program", True), (2, "pool", False), (3, "plugin", False)]
    wrong = froe.run("check", "--config", write(base(froe, prefix, rules=[{"buckets": "x", "handler": "discard"}])), plain=True)
    assert wrong.code == USAGE and "can never match" in wrong.stderr
    assert not ran.exists()

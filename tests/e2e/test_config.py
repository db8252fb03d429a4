"""Configuration files: what they say is done, who says otherwise wins, they can be shown and read again."""
import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import jsonschema
import pytest
import yaml
from configs import base, noted, once, to, write  # noqa: F401 - two are fixtures
from froe import DRAINED, USAGE

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples/config").glob("*.yaml"))


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
def test_reload(fake, froe, prefix, folder, write):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    config = write(base(froe, prefix, cron="* * * * * *", rules=[{"keys": "*.a", "handler": to(folder / "one")}]))
    running = froe.start("run", "--log", "json", "--discard", "--config", config, plain=True)
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

    for i, (text, error) in enumerate([
            (base(froe, prefix, cron="* * * * * *", rules=[{"handler": {"program": ["no-such-program-at-all"]}}]), "rule 1"),
            ("", f"{config}: it is empty")]):  # somebody is just writing it
        write(text)
        running.signal(signal.SIGHUP)
        running.until("it says so again", lambda n=i + 2: len(said("the configuration file was not taken")) == n)
        assert error in said("the configuration file was not taken")[i + 1]["error"]

    write(base(froe, prefix, cron="* * * * * *", slots=3, rules=[{"keys": "*.b", "handler": to(folder / "two")}]))
    running.signal(signal.SIGHUP)
    running.until("the new rules hold", lambda: fake.keys(bucket) == [])
    fake.raw.put(bucket, "3.a", b"x")
    running.until("and the old ones no more", lambda: (froe.status_of(bucket) or {"skipped": {}})["skipped"].get("no_rule"))
    assert fake.keys(bucket) == ["3.a"]
    assert said("the configuration file has other values that need a restart")[0]["keys"] == "slots"
    assert running.stop().code == DRAINED
    assert (noted(folder / "one"), noted(folder / "two")) == (["1.a", "2.a"], ["1.b"])


def test_reload_is_held_to_what_stays_in_force(fake, froe, prefix, folder, write):
    """A new bucket_prefix takes no effect, so results must not land where the old one drains; and a dry run none either."""
    bucket, other = prefix + "1", "o" + prefix[1:]
    fake.make_bucket(bucket)
    same = {"cron": "* * * * * *"}
    config = write(base(froe, prefix, **same, rules=[{"keys": "*.a", "handler": "discard"}]))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("it runs", lambda: running.result().said("draining"))
    refused = "the configuration file was not taken; the old one stays in force"
    for i, (file, error) in enumerate([
            (base(froe, other, **same, program=["cat"], output=f"s3://{prefix}results/{{key}}"), f"'{prefix}results', which is drained"),
            (base(froe, other, **same, rules=[{"buckets": other + "*", "handler": "discard"}]), "can never match"),
            (base(froe, prefix, **same, dry_run=True), "nothing to do with the objects"),
            (base(froe, prefix, **same, dry_run=True, rules=[{"keys": "*.b"}]), "this rule has no handler")]):
        write(file)
        running.signal(signal.SIGHUP)
        running.until("it says so", lambda n=i + 1: len(running.result().said(refused)) == n)
        said = running.result().said(refused)[i]["error"]
        assert error in said and ("stays in force until a restart" in said) == (i < 2), said
    fake.raw.fill(bucket, (("1.a", b"x"), ("1.b", b"x")))
    running.until("the first rules hold", lambda: fake.keys(bucket) == ["1.b"])
    write(base(froe, other, **same, rules=[{"keys": "*.b", "handler": "discard"}]))
    running.signal(signal.SIGHUP)
    running.until("what is right is taken", lambda: fake.keys(bucket) == [])
    assert [line["keys"] for line in running.result().said("the configuration file has other values that need a restart")] == ["bucket_prefix"]
    assert running.stop().code == DRAINED


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
    origins = shown["rules"][0]["origins"]
    assert (origins["keys"], origins["handler"], origins["retries"]) == (f"{config}:6", f"{config}:7", f"{config}:8")
    assert (origins["timeout"], origins["min_age"], origins["buckets"]) == ("variable FROE_TIMEOUT", "default", "default")
    people = froe.run("config", "show", "--config", config, plain=True)
    assert "sEcReT" not in result.stdout + people.stdout
    assert f"slots                12   ({config}:1)" in people.stdout


def test_show_the_handler_of_all(froe, write):
    """Of a rule without one of its own: what its objects are given, and who says so."""
    config = write("program: [cat, -]\nrules:\n  - keys: a\n  - keys: b\n    handler: discard\n")

    def shown(*args):
        result = froe.run("config", "show", "--json", "--config", config, *args, plain=True)
        return [(rule["handler"], rule["origins"]["handler"]) for rule in json.loads(result.stdout)["rules"]]
    own = ("discard", f"{config}:5")
    assert shown() == [({"program": ["cat", "-"]}, f"{config}:1"), own]
    assert shown("--pool") == [({"pool": ["cat", "-"]}, f"{config}:1"), own]
    assert shown("--discard") == [("discard", "command line"), own]
    assert shown("--", "tac") == [({"program": ["tac"]}, "command line"), own]
    assert shown("--plugin", "x.so", "--", "1") == [({"plugin": ["x.so", "1"]}, "command line"), own]


def test_check(froe, write):
    assert froe.run("config", "check", write("slots: 3\n"), plain=True).stdout.endswith(": fine: 1 keys, 0 rules\n")
    broken = write("slots: 3\nretry: 4\n")
    for args in (["config", "check", broken], ["run", "--config", broken, "--discard"]):
        result = froe.run(*args, plain=True)
        assert (result.code, result.stderr) == (USAGE, f"froe: {broken}:2:1: unknown key 'retry'; did you mean retries?\n")
    result = froe.run("config", "check", plain=True)
    assert result.code == USAGE and "FROE_CONFIG" in result.stderr


def test_what_froe_config_is_asked(froe, write):
    """The word first, then the file; and a schema is there whatever a file is like."""
    result = froe.run("config", "chek", "no-such-file", plain=True)
    assert result.code == USAGE and "'chek' is not what can be done with a configuration file" in result.stderr
    assert froe.run("config", plain=True).code == USAGE
    assert froe.run("config", "schema", plain=True, env={"FROE_CONFIG": write("slotss: 3\n")}).code == DRAINED


def test_check_wants_a_handler_for_each_rule(froe, write):
    """As a run does, and in its words; a handler for all may come by the command line there as here."""
    path = write("bucket_prefix: in-\nrules:\n  - keys: a\n    handler: discard\n  - keys: b\n")
    for args in (["config", "check", path], ["run", "--once", "--config", path]):
        result = froe.run(*args, plain=True)
        assert (result.code, result.stderr) == (
            USAGE, f"froe: {path}:5:5: this rule has no handler, and there is neither a program nor discard for all\n")
    for more in (["--discard"], ["--", "cat"], ["--dry-run"]):
        assert froe.run("config", "check", path, *more, plain=True).code == DRAINED
    assert froe.run("config", "show", "--config", path, plain=True).code == DRAINED  # what there is can be seen before


def test_no_password_of_a_key_is_shown(froe, write):
    path = write("postgres://u:sEcReT@h: 3\n")
    for args in (["config", "check", path], ["config", "show", "--config", path], ["run", "--once", "--discard", "--config", path]):
        result = froe.run(*args, plain=True)
        assert result.code == USAGE and f"{path}:1:1: unknown key 'postgres://u:***@h'" in result.stderr
        assert "sEcReT" not in result.stdout + result.stderr


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
    assert keys == set(schema.schema["properties"]["rules"]["items"]["properties"])


@pytest.mark.parametrize("text", [
    "slots: many", "slots: '3'", "slots: 0", "slots: 10001", "slot: 3", "once: 1", "timeout: 60", "history_size: x", "include: []",
    "program: ls", "program: []", "rules: []", "rules: {}", "rules: [{bucket: x}]", "rules: [{handler: delete}]",
    "rules: [{handler: {}}]", "rules: [{handler: {program: []}}]", "rules: [{retries: -1}]", "rules: [{max_runs_per_bucket: -3}]",
    "rules: [{keys: {includes: a}}]", "rules: [{timeout: 5}]", "store: mysql://x", "log: xml", "log_level: loud", "slots:",
    "output: x", "output: []", "output: {bucket: b}", "output: {key: '{key}'}", "output: {bucket: b, key: '{key}', kex: 1}",
    "output: {directory: d, key: '{key}', region: r}", "then: remove", "then: {}", "then: {move: done}", "then: {tag: {}}",
    "then: {move: {bucket: b}}", "rules: [{output: 3}]", "rules: [{then: {keep: yes}}]",
    "rules: [{when: ''}]", "bucket_prefix: ''", "cron: ''", "rules: [{keys: []}]",
    "confine: maybe", "confine: [no]", "allow_network: perhaps", "allow_write: here", "allow_write: []", "limit_memory: much",
    "limit_cpu: 5", "limit_files: -1", "nice: 20", "plugin: x.so", "plugin: []", "rules: [{handler: {plugin: []}}]",
    "rules: [{confine: maybe}]", "rules: [{nice: 20}]", "rules: [{allow_write: here}]",
    "then: {move: {bucket: 'b b', key: '{key}'}}", "then: {tag: {'aws:x': y}}", "then: {tag: {'': y}}", "program: ['']",
    f"worker: {129 * 'w'}", f"include: {4097 * 'x'}", "output: {bucket: b, key: '{key}', region: ''}",
])
def test_what_the_schema_refuses_froe_refuses(froe, schema, write, text):
    assert list(schema.iter_errors(yaml.safe_load(text)))
    assert froe.run("config", "check", write(text), plain=True).code == USAGE


@pytest.mark.parametrize("text", [
    "history: '0'", "history: 0", "min_age: '0'", "limit_cpu: 0s", "bucket_prefix: true", "bucket_prefix: 12", "worker: 1.5",
    "output: {bucket: 123, key: '{key}', content_type: 1}", "then: {tag: {a: 1, b: true, c: ''}}", "program: [1, true, '']",
    "history_size: 1048576", "history_size: 64mb", "timeout: 1.5h", "store: postgresql://", "cron: '@daily'", "once: false",
    "pool_body: memfd", "confine: best-effort", "include: 1", "rules: [{}]", "rules: [{keys: {}}]", "rules: [{when: true}]",
])
def test_what_froe_takes_the_schema_takes(froe, schema, write, text):
    assert list(schema.iter_errors(yaml.safe_load(text))) == []
    result = froe.run("config", "check", write(text), "--discard" if "program" not in text and "output" not in text else "--dry-run",
                      plain=True)
    assert result.code == DRAINED, result


def option_names(froe):
    """Those of froe run, by its help."""
    return re.findall(r"^  --([a-z-]+)", froe.run("help", "run", plain=True).stdout, re.MULTILINE)


def test_every_option_has_a_key_and_is_told_of(froe, schema):
    config, readme = ((ROOT / path).read_text() for path in ("docs/config.md", "README.md"))
    cells = re.findall(r"^\| (`.*?) \|", config, re.MULTILINE)  # the first of each row
    names = set(option_names(froe)) - {"config", "help"}
    assert len(names) >= 40
    for name in names:
        key = name.replace("-", "_")
        assert key in schema.schema["properties"], key
        assert any(f"`{key}`" in cell for cell in cells), f"docs/config.md has no line for {key}"
        assert f"--{name}" in readme, name
    rows = config[config.index("| key of a rule |"):].split("\n\n")[0]
    for key in schema.schema["properties"]["rules"]["items"]["properties"]:
        assert f"`{key}`" in rows or key.split("_")[0] in ("allow", "limit"), key


@pytest.mark.parametrize("text, error", [
    (b"", None),
    (b"# nothing\n", None),
    (b"\xef\xbb\xbfslots: 3\r\nretries: 4\r\n", None),
    (b"\xef\xbb\xbfslots: 3\r\nretry: 4\r\n", ":2:1: unknown key 'retry'; did you mean retries?"),
    ("slots: 3\n".encode("utf-16"), ":1:1: invalid leading UTF-8 octet; the file has to be UTF-8"),
    (b"slots: 3\nworker: \xff\n", ":2:9: invalid leading UTF-8 octet; the file has to be UTF-8"),
    (b"rules:\n\t- keys: a\n", ":2:1: no text begins with this character (a tab"),
    (b"slots: &n 3\nretries: *n\n", ":1:8: anchors (&name) are not supported"),
    (b"include: *.jpg\n", ':1:10: a text that begins with * or & has to be in quotes: "*.jpg"'),
    (b"rules:\n  - keys: a\n    keys: b\n", ":3:5: the key 'keys' stands twice; it was first given in line 2"),
    (b"rules:\n  - keys: {inclde: a}\n", ":2:12: unknown key 'inclde' of keys; did you mean include?"),
    (b"rules:\n  - handler: {image: {outputs: [{widht: 3}]}}\n", ":2:34: unknown key 'widht' of an output; did you mean width?"),
    (b"output: {bucket: b, key: k, conten_type: x}\n", ":1:29: unknown key 'conten_type' of an output; did you mean content_type?"),
    (b"log_level: warning\n", ":1:12: log_level: 'warning' is not debug, info, warn or error; did you mean warn?"),
    (b"confine: best_effort\n", "; did you mean best-effort?"),
    (b"then: delte\n", "; did you mean delete?"),
    (b"rules:\n  - handler: discrad\n", "; did you mean discard?"),
    (b"slots: [3]\n", ":1:8: slots is one value, not a list"),
    (b"rules: " + 100 * b"[" + 100 * b"]", ":1:23: lists and mappings are nested too deeply"),
    (b"rules:\n" + 20000 * b"- {keys: a}\n", ": more than a configuration file may hold"),
    (b"#" * (1 << 20) + b"\nslots: 3\n", ": larger than a configuration file may be (1024 KiB)"),
], ids=range(21))
def test_odd_files(froe, folder, text, error):
    path = folder / "froe.yaml"
    path.write_bytes(text)
    result = froe.run("config", "check", path, plain=True)
    if error:
        assert result.code == USAGE and str(path) in result.stderr and error in result.stderr and len(result.stderr) < 1000, result
    else:
        assert result.code == DRAINED and ": fine: " in result.stdout, result


def test_files_that_cannot_be_read(froe, folder):
    secret = folder / "secret.yaml"
    secret.touch(mode=0)
    for path, why in [(folder, "Is a directory"), (folder / "none", "No such file"), (secret, "Permission denied")]:
        for args in (["config", "check", path], ["run", "--once", "--config", path, "--discard"]):
            if path != secret or os.geteuid() != 0:
                result = froe.run(*args, plain=True)
                assert result.code == USAGE and str(path) in result.stderr and why in result.stderr, result


@pytest.mark.needs("strict_auth")  # the fake and Ceph: moto is slow
@pytest.mark.parametrize("name", ["logs", "classes"])
def test_examples_do_what_they_say(server, froe, prefix, folder, once, write, name):
    """With this test's prefix in place of theirs."""
    text = next(path for path in EXAMPLES if path.stem == name).read_text()
    own = {"logs": "logs-", "classes": "in-"}[name]
    text = text.replace(f"bucket_prefix: {own}", f"bucket_prefix: {prefix}").replace(f"buckets: {own}", f"buckets: {prefix}")
    places = {place: f"{place}-{prefix}x" for place in ("packed-logs", "orders-done", "checksums")}
    for place, here in places.items():
        server.make_bucket(here)
        text = text.replace(place, here)
    config = write(text)
    put = server.s3.put_object
    store = ["--store", f"sqlite:{froe.store}"]
    if name == "logs":
        server.make_bucket(prefix + "1")
        for key, body in (("d/a.log", b"hello\nx DEBUG y\n"), ("b.log.1", b"world\n"), ("empty.log", b""), ("readme", b"x")):
            put(Bucket=prefix + "1", Key=key, Body=body)
        once(config, *store)
        assert server.keys(prefix + "1") == ["readme"]
        packed = {key: gzip.decompress(server.body(places["packed-logs"], key)) for key in server.keys(places["packed-logs"])}
        day = time.strftime("%Y-%m-%d", time.gmtime())
        assert packed == {f"{prefix}1/{day}/d/a.log.gz": b"hello\n", f"{prefix}1/{day}/b.log.1.gz": b"world\n"}
        return
    for bucket in ("orders", "pictures", "events"):
        server.make_bucket(prefix + bucket)
    put(Bucket=prefix + "orders", Key="1.json", Body=b"{}")
    put(Bucket=prefix + "orders", Key="1.xml", Body=b"<x/>")
    put(Bucket=prefix + "pictures", Key="a", Body=b"jpeg", ContentType="image/jpeg")
    put(Bucket=prefix + "pictures", Key="b", Body=b"text", ContentType="text/plain")
    put(Bucket=prefix + "events", Key="t", Body=b"tested", Metadata={"test": "yes"})
    put(Bucket=prefix + "events", Key="r", Body=b"real")
    for _ in range(2):
        once(config, *store)
    assert server.keys(prefix + "orders") == ["1.xml"]
    [moved] = server.keys(places["orders-done"])
    assert moved.endswith("/1.json") and server.body(places["orders-done"], moved) == b"{}"
    assert server.keys(prefix + "pictures") == ["a", "b"]
    assert server.s3.get_object_tagging(Bucket=prefix + "pictures", Key="a")["TagSet"] == [{"Key": "checked", "Value": "yes"}]
    assert server.keys(places["checksums"]) == ["a.sha256"]
    assert server.body(places["checksums"], "a.sha256").split() == [hashlib.sha256(b"jpeg").hexdigest().encode(), b"-"]
    assert server.keys(prefix + "events") == []
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

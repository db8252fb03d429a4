"""froe runs: what happened to an object, and changing what will. Each way of asking: through the socket of a froe that runs, by
opening the store when none does, and on a server beside a froe that works there."""
import json
import re
import signal
import time

import pytest
from froe import DRAINED, INTERNAL, PARKED, STORE, USAGE

RUN_FIELDS = {"run_id", "workflow", "state", "cancel_asked", "bucket", "key", "group", "child_key", "generation", "attempts", "worker",
              "created_at", "due_at", "started_at", "ended_at", "duration_ms", "error", "priority", "parent"}
ATTEMPT_FIELDS = {"attempt", "state", "worker", "started_at", "ended_at", "duration_ms", "error", "result"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
SECOND_TRY = ["sh", "-c", 'cat >/dev/null; [ "$FROE_ATTEMPT" -ge 2 ] || { echo "not yet" >&2; exit 3; }']


def ask(froe, *args, expect=DRAINED, env=None):
    """What `froe runs ...` printed."""
    result = froe.run("runs", *args, "--store", getattr(froe, "server_uri", f"sqlite:{froe.store}"), plain=True, timeout=20, env=env)
    assert result.code == expect, result
    return result


def objects(froe, *args, expect=DRAINED):
    """The same with --json: a list of what stood on the lines."""
    return [json.loads(line) for line in ask(froe, *args, "--json", expect=expect).stdout.splitlines()]


def one(froe, bucket, key):
    found = objects(froe, "list", "--bucket", bucket, "--key", key)
    assert len(found) == 1, found
    return found[0]


def status(froe):
    return json.loads(froe.run("status", "--json", "--store", getattr(froe, "server_uri", f"sqlite:{froe.store}"), plain=True).stdout)


@pytest.fixture(params=["running", "not running", pytest.param("server", marks=pytest.mark.fleet)])
def way(request, froe, prefix):
    """Calls begin(...) with froe run's options: drains, and leaves a froe running where this is the way."""
    started = []
    on_server = request.param == "server"
    if on_server:
        froe.server_uri = request.getfixturevalue("postgres").uri(prefix.replace("-", "_"))

    def begin(*args, program):
        if request.param == "not running":
            # Parked objects are not its fault.
            result = froe.run("run", "--once", *args, program=program)
            assert result.code in (DRAINED, PARKED), result
            return None
        if on_server:
            args = (*args, "--store", froe.server_uri)
        running = froe.start("run", "--cron", "0 0 1 1 *", *args, program=program)
        started.append(running)

        def is_done():
            if not on_server and not froe.is_up():
                return False
            buckets = status(froe)["buckets"]
            return buckets and all(bucket["listing"] == "complete" and bucket["backlog"] == 0 for bucket in buckets)
        running.until("all is done", is_done)
        return running
    yield begin
    for running in started:
        assert running.stop().code == DRAINED


def test_what_happened_to_an_object(fake, froe, prefix, way):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "some/key", b"x")
    fake.raw.put(bucket, "other", b"x")
    before = time.time()
    way("--retries", 1, "--backoff", "10ms", "--worker", "left", program=SECOND_TRY)
    run = one(froe, bucket, "some/key")
    assert set(run) == RUN_FIELDS
    assert run["workflow"] == "process_object" and run["state"] == "succeeded" and run["error"] is None
    assert (run["bucket"], run["key"], run["group"], run["child_key"]) == (bucket, "some/key", bucket, f"{bucket}/some/key")
    assert run["attempts"] == 2 and run["worker"] == "left" and run["priority"] == 1 and run["cancel_asked"] is False
    assert run["duration_ms"] > 0 and run["due_at"] is None
    for name in ("created_at", "started_at", "ended_at"):
        assert ISO.match(run[name]), run
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))[:13] <= run["created_at"][:13]

    full = objects(froe, "show", run["run_id"])[0]
    assert set(full) == RUN_FIELDS | {"input", "metadata", "result", "attempt_list", "log"}
    assert full["input"] == {"bucket": bucket} and full["metadata"] == {} and full["result"] is None
    first, second = full["attempt_list"]
    assert set(first) == ATTEMPT_FIELDS
    assert (first["attempt"], first["state"], first["worker"]) == (1, "waiting", "left") and "not yet" in first["error"]
    assert (second["attempt"], second["state"], second["error"]) == (2, "succeeded", None)
    assert first["ended_at"] <= second["started_at"]
    # The listing that found it is the parent.
    parent = objects(froe, "show", run["parent"])[0]
    assert parent["workflow"] == "fetch_s3_objects" and parent["bucket"] == bucket and parent["state"] == "succeeded"

    assert objects(froe, "list", "--bucket", bucket, "--key", "nope") == []
    assert "nothing is known" in ask(froe, "list", "--bucket", bucket, "--key", "nope").stdout


def test_for_people(fake, froe, prefix, way):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "good", b"x")
    fake.raw.put(bucket, "line\nbreak", b"x")
    way("--retries", 0, "--worker", "left", program=froe.recorder("fail", "line*", 3))
    listed = ask(froe, "list", "--bucket", bucket).stdout
    lines = listed.splitlines()
    assert lines[0].split() == ["RUN", "STATE", "WHEN", "TOOK", "TRY", "WORKER", "WHAT"]
    assert "UTC+05:45" in lines[-1]  # the tests' own zone
    assert all(len(line) <= 80 for line in lines), listed
    assert any("succeeded" in line and line.endswith(f"{bucket}/good") and "left" in line for line in lines), listed
    assert any("parked" in line and line.endswith(f"{bucket}/line\\x0abreak") for line in lines), listed
    assert any("told to fail with 3" in line and line.startswith("    ") for line in lines), listed
    where = lines[0].index("WHAT")
    assert all(line[where - 1] == " " and line[where] != " " for line in lines[1:-1] if not line.startswith(" ")), listed
    shown = ask(froe, "show", one(froe, bucket, "line\nbreak")["run_id"]).stdout
    for words in ("parked", f"{bucket}/line\\x0abreak", "told to fail with 3", "left", "+05:45", "attempts    1"):
        assert words in shown, shown
    assert "no log lines" in ask(froe, "logs").stdout


def test_filters(fake, froe, prefix, way):
    for name, keys in ((prefix + "1", 5), (prefix + "2", 3)):
        fake.make_bucket(name)
        fake.raw.fill(name, ((f"k{i}", b"x") for i in range(keys)))
    way("--retries", 0, program=froe.recorder("fail", "k2", 3))

    def count(*args):
        return len(objects(froe, "list", *args))
    assert count() == 1 + 2 + 8
    assert count("--workflow", "process_object") == 8
    assert count("--workflow", "fetch_s3_objects") == 2
    assert count("--workflow", "fetch_s3_objects", "--bucket", prefix + "2") == 1
    assert count("--workflow", "nope") == 0
    assert count("--bucket", prefix + "1") == 5
    assert count("--state", "parked") == 2
    assert count("--state", "parked,succeeded", "--bucket", prefix + "2") == 3
    assert count("--state", "finished") == 9 and count("--state", "live") == 0
    assert count("--since", "10m") == 11 and count("--until", "10m") == 0
    assert count("--since", "2020-01-01", "--until", "2020-01-02") == 0
    assert count("--limit", 3) == 3
    assert count("--meta", "tenant=blue") == 0  # test_ticks has some that do
    ids = [run["run_id"] for run in objects(froe, "list")]
    assert len(set(ids)) == 11
    pages = [tuple(map(int, run_id.split(":"))) for run_id in ids]
    assert pages == sorted(pages, reverse=True)  # the newest first


def test_long_list_comes_in_parts(fake, froe, prefix, way):
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i:05}", b"x") for i in range(2500)))
    way("--discard", program=None)
    assert len(objects(froe, "list", "--bucket", prefix + "1")) == 100  # unless told otherwise
    found = objects(froe, "list", "--bucket", prefix + "1", "--limit", 100000)
    assert len({run["key"] for run in found}) == len(found) == 2500
    assert len(objects(froe, "list", "--bucket", prefix + "1", "--limit", 1234)) == 1234


def test_retry_and_cancel_parked(fake, froe, prefix, way):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((f"k{i}", b"x") for i in range(4)))
    broken = froe.folder / "broken"
    broken.touch()
    running = way("--retries", 0, program=froe.recorder("while", broken, 3))
    parked = objects(froe, "list", "--state", "parked")
    assert len(parked) == 4
    assert "1 cancelled" in ask(froe, "cancel", parked[0]["run_id"]).stdout
    assert one(froe, bucket, parked[0]["key"])["state"] == "cancelled"
    assert len(objects(froe, "list", "--state", "parked")) == 3
    broken.unlink()
    assert objects(froe, "retry", parked[1]["run_id"])[0]["count"] == 1
    if running:
        running.until("it is done", lambda: one(froe, bucket, parked[1]["key"])["state"] == "succeeded")
        assert one(froe, bucket, parked[1]["key"])["attempts"] == 1
        assert objects(froe, "retry", "--bucket", bucket)[0] == {"count": 2, "failed": 0}
        running.until("they are, too", lambda: len(objects(froe, "list", "--state", "succeeded", "--bucket", bucket)) == 3)
        assert fake.keys(bucket) == [parked[0]["key"]]
    else:
        assert one(froe, bucket, parked[1]["key"])["state"] == "queued"
        assert objects(froe, "cancel", "--all") == [{"count": 3, "asked": 0, "failed": 0}]
        assert len(objects(froe, "list", "--state", "cancelled")) == 4
    # What is not parked stays as it is.
    assert "not parked" in ask(froe, "retry", parked[0]["run_id"], expect=INTERNAL).stderr
    assert "finished already" in ask(froe, "cancel", parked[0]["run_id"], expect=INTERNAL).stderr


def test_cancel_what_runs(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((f"k{i}", b"x") for i in range(5)))
    running = froe.start("run", "--slots", 3, "--cron", "0 0 1 1 *", program=froe.recorder("sleep", 60))
    running.until("three are at work", lambda: len(froe.record.begun()) == 3)
    at_work = objects(froe, "list", "--state", "running", "--bucket", bucket)
    keys = {key for _, key in froe.record.begun()}
    victim = next(run for run in at_work if run["key"] in keys)
    began = time.monotonic()
    assert "0 cancelled, 1 running: asked to end" in ask(froe, "cancel", victim["run_id"]).stdout
    running.until("it has ended", lambda: one(froe, bucket, victim["key"])["state"] == "cancelled")
    assert time.monotonic() - began < 15 * froe.patience
    assert victim["key"] in fake.keys(bucket)  # not processed, so not deleted
    running.until("another has its slot", lambda: len(froe.record.begun()) == 4)
    answer = objects(froe, "cancel", "--workflow", "process_object")[0]
    assert answer["count"] == 4 and answer["asked"] >= 3 and answer["failed"] == 0
    running.until("none is left", lambda: not objects(froe, "list", "--state", "live", "--workflow", "process_object"))
    assert len(fake.keys(bucket)) == 5
    assert running.stop().code == DRAINED


def test_replay(fake, froe, prefix, way):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"x")
    running = way(program=froe.recorder())
    run = one(froe, bucket, "k")
    fake.raw.put(bucket, "k", b"x")
    said = ask(froe, "replay", run["run_id"]).stdout
    new = re.match(rf"{run['run_id']} is replayed as (\d+:\d+)\n1 replayed\n$", said).group(1)
    if running:
        running.until("it is done again", lambda: objects(froe, "show", new)[0]["state"] == "succeeded")
        assert froe.record.ended() == [(bucket, "k")] * 2 and fake.keys(bucket) == []
    else:
        assert objects(froe, "show", new)[0]["state"] == "queued"
        assert "child key" in ask(froe, "replay", run["run_id"], expect=INTERNAL).stderr
        assert "not finished" in ask(froe, "replay", new, expect=INTERNAL).stderr
        froe.once(program=froe.recorder())
        assert froe.record.ended() == [(bucket, "k")] * 2
    assert len(objects(froe, "list", "--bucket", bucket, "--key", "k")) == 2


def test_watch_one_run(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "good", b"x")
    fake.raw.put(bucket, "bad", b"x")
    go = froe.folder / "wait"
    go.touch()
    program = ["sh", "-c", f'cat >/dev/null; while [ -e {go} ]; do sleep 0.1; done; [ "$FROE_KEY" = good ]']
    running = froe.start("run", "--retries", 0, "--cron", "0 0 1 1 *", program=program)
    running.until("both are there", lambda: froe.is_up() and len(objects(froe, "list", "--bucket", bucket, "--state", "running")) == 2)
    ids = {key: one(froe, bucket, key)["run_id"] for key in ("good", "bad")}
    watching = {key: froe.start("runs", "watch", ids[key], "--store", f"sqlite:{froe.store}", plain=True) for key in ids}
    for key, watch in watching.items():
        watch.until("it says what is", lambda watch=watch: "running" in watch.out.read_text())
    go.unlink()
    good, bad = watching["good"].wait(), watching["bad"].wait()
    assert good.code == DRAINED and good.stdout.splitlines()[-1].split()[1:3] == ["succeeded", ids["good"]], good
    assert bad.code == PARKED and bad.stdout.splitlines()[-1].split()[1:3] == ["parked", ids["bad"]], bad
    assert len(good.stdout.splitlines()) == 2
    assert ask(froe, "watch", ids["good"]).stdout.count("\n") == 1  # it is over already
    assert running.stop().code == DRAINED


def test_watch_all(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    running = froe.start("run", "--cron", "* * * * * *", program=froe.recorder())
    running.until("it is up", froe.is_up)
    watch = froe.start("runs", "watch", "--bucket", bucket, "--json", "--store", f"sqlite:{froe.store}", plain=True)
    put = 0

    def seen():
        return {run["key"]: run["state"] for run in map(json.loads, watch.out.read_text().splitlines())}

    def more():
        """When it begins to look cannot be seen, but from then on it sees all."""
        nonlocal put
        fake.raw.put(bucket, f"k{put}", b"x")
        put += 1
        time.sleep(0.3)
        return seen()
    watch.until("it sees one", more)
    first = min(int(key[1:]) for key in seen())
    fake.raw.fill(bucket, ((f"k{i}", b"x") for i in range(put, put + 5)))
    watch.until("all are seen to be done", lambda: seen() == {f"k{i}": "succeeded" for i in range(first, put + 5)})
    watch.signal(signal.SIGINT)
    watch.process.wait(10)
    assert running.stop().code == DRAINED


def test_watching_where_nobody_works(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"x")
    froe.once(program=["true"])
    watch = froe.start("runs", "watch", "--store", f"sqlite:{froe.store}", plain=True)
    watch.until("it says so", lambda: "no froe works on this store" in watch.err.read_text())
    watch.signal(signal.SIGINT)
    watch.process.wait(10)


def test_no_history(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "k", b"x")
    froe.once("--history", 0, program=["true"])
    assert objects(froe, "list") == []
    fake.raw.put(bucket, "k", b"x")
    froe.once(program=["true"])
    assert len(objects(froe, "list", "--bucket", bucket)) == 1
    # Who only looks does not tidy: nothing is lost by looking.
    assert len(objects(froe, "list", "--bucket", bucket)) == 1


def test_history_is_bounded(fake, froe, prefix):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.put(bucket, "old", b"x")
    froe.once("--history", "2s", program=["true"])
    time.sleep(2.5)
    fake.raw.put(bucket, "new", b"x")
    froe.once("--history", "2s", program=["true"])
    assert {run["key"] for run in objects(froe, "list", "--bucket", bucket)} == {"new"}


@pytest.mark.parametrize("words, code, text", [
    (["runs"], USAGE, "list, show"), (["runs", "ls"], USAGE, "'ls'"), (["runs", "show"], USAGE, "needs one"),
    (["runs", "show", "12"], USAGE, "4711:12"), (["runs", "list", "--status", "x"], USAGE, "did you mean --state"),
    (["runs", "list", "--state", "done"], USAGE, "succeeded"), (["runs", "cancel"], USAGE, "--all"),
    (["runs", "list", "--key", "k"], USAGE, "--bucket"), (["runs", "list", "--since", "yesterday"], USAGE, "10m"),
    (["runs", "list", "--since", "99999999h"], USAGE, "1970"),
    (["runs", "list", "--store", "/tmp/x"], USAGE, "sqlite:PATH"),
    (["runs", "list", "--store", "postgres://u:hunter2@h/d"], USAGE, "PGPASSWORD"),
    (["run", "--discard", "--store", "postgres://u:hunter2@h/d"], USAGE, "~/.pgpass"),
    (["run", "--discard", "--history", "forever"], USAGE, "--history"),
])
def test_mistakes(froe, fake, words, code, text):
    result = froe.run(*words, plain=True, timeout=20)
    assert result.code == code and text in result.stderr and not result.stdout, result
    assert "hunter2" not in result.stderr


def test_what_is_not_there(fake, froe, prefix, way):
    if not hasattr(froe, "server_uri"):
        assert "does not exist" in ask(froe, "list", expect=STORE).stderr
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    way(program=["true"])
    for verb in ("show", "watch", "cancel", "retry", "replay"):
        result = ask(froe, verb, "99999:3", expect=INTERNAL)
        assert "there is no run 99999:3" in result.stderr, result
    assert "in such a state" in ask(froe, "retry", "--state", "queued", expect=USAGE).stderr
    assert objects(froe, "retry", "--all") == [{"count": 0, "failed": 0}]


def test_password_is_shown_nowhere(fake, froe):
    """A server that is not there: everything that may be said about it is said."""
    env = {"FROE_STORE": "postgres://froe:hunter2@127.0.0.1:9/froe?connect_timeout=2"}
    for words in (["runs", "list"], ["status"], ["status", "--json"], ["parked", "list"], ["workflows", "list"], ["workers"],
                  ["check", "--json"], ["check"], ["run", "--discard", "--log", "json", "--log-level", "debug"]):
        result = froe.run(*words, plain=True, env=env, timeout=40)
        assert result.code != DRAINED, (words, result)
        assert "hunter2" not in result.stdout + result.stderr, (words, result)

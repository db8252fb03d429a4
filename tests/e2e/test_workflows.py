"""froe workflows, froe workers, and what froe status says of groups."""
import json

import pytest
from froe import DRAINED, INTERNAL, STORE, USAGE

WORKFLOW_FIELDS = {"workflow", "paused", "rules", "queued", "waiting", "running", "parked", "done", "failed", "cancelled", "last_tick_at"}
GROUP_FIELDS = {"workflow", "group", "backlog", "leased", "admitted", "limit", "parked", "done", "failed", "cancelled",
                "last_granted_at"}
WORKER_FIELDS = {"worker", "slots", "leased", "since", "heard_at", "expires_at"}
NEVER = "0 0 1 1 *"


def ask(froe, *args, expect=DRAINED):
    result = froe.run(*args, "--store", f"sqlite:{froe.store}", plain=True, timeout=20)
    assert result.code == expect, result
    return result


def objects(froe, *args):
    return [json.loads(line) for line in ask(froe, *args, "--json").stdout.splitlines()]


def workflow(froe, name):
    found = objects(froe, "workflows", "list", name)
    assert len(found) == 1 and found[0]["workflow"] == name, found
    return found[0]


def fill(fake, prefix, **buckets):
    for name, n in buckets.items():
        fake.make_bucket(prefix + name)
        fake.raw.fill(prefix + name, ((f"k{i:03}", b"x") for i in range(n)))


def test_lists_while_it_works(fake, froe, prefix):
    fill(fake, prefix, a=30, b=3)
    go = froe.folder / "wait"
    go.touch()
    program = ["sh", "-c", f"cat >/dev/null; while [ -e {go} ]; do sleep 0.1; done"]
    running = froe.start("run", "--slots", 6, "--max-runs-per-bucket", 4, "--worker", "left", "--cron", NEVER, program=program)
    running.until("six are at work", lambda: froe.is_up() and sum(bucket["running"] for bucket in froe.status()["buckets"]) == 6)

    groups = {group["group"]: group for group in objects(froe, "workflows", "list", "--groups", "process_object")}
    assert set(groups) == {prefix + "a", prefix + "b"}
    for group in groups.values():
        assert set(group) == GROUP_FIELDS and group["workflow"] == "process_object" and group["limit"] == 4
        assert 0 < group["admitted"] <= 4 and group["last_granted_at"].endswith("Z")
    assert groups[prefix + "a"]["backlog"] + groups[prefix + "a"]["leased"] == 30

    process = workflow(froe, "process_object")
    assert set(process) == WORKFLOW_FIELDS
    assert process["queued"] + process["running"] == 33 and process["running"] >= 6 and process["paused"] is False
    assert {found["workflow"] for found in objects(froe, "workflows", "list")} == {"fetch_s3_buckets", "fetch_s3_objects",
                                                                                  "process_object"}
    worker, = objects(froe, "workers")
    assert set(worker) == WORKER_FIELDS
    assert worker["worker"] == "left" and worker["slots"] == 6 and worker["leased"] >= 6
    assert worker["heard_at"] < worker["expires_at"]

    status = froe.status()
    assert status["workers"] == 1
    for bucket in status["buckets"]:
        assert bucket["max_runs"] == 4 and 0 < bucket["admitted"] <= 4 and bucket["last_granted_at"].endswith("Z")

    for words in (["workflows", "list"], ["workers"]):
        text = ask(froe, *words).stdout
        assert max(map(len, text.splitlines())) <= 100 and "left" in text + "left"
    assert "4/4" in ask(froe, "status").stdout
    assert "left" in ask(froe, "workers", "list").stdout
    assert prefix + "a" in ask(froe, "workflows", "list", "--groups").stdout

    go.unlink()
    running.until("all is done", lambda: workflow(froe, "process_object")["done"] == 33)
    assert running.stop().code == DRAINED
    # The same without it.
    assert workflow(froe, "process_object")["done"] == 33
    assert objects(froe, "workers") == []
    assert "no froe runs" in ask(froe, "workers").stdout
    assert {group["done"] for group in objects(froe, "workflows", "list", "--groups", "process_object")} == {30, 3}


@pytest.mark.parametrize("while_running", [True, False])
def test_pause(fake, froe, prefix, while_running):
    fill(fake, prefix, a=5)
    running = None
    if while_running:
        running = froe.start("run", "--cron", "* * * * * *", program=froe.recorder())
        running.until("all is done", lambda: len(froe.record.ended()) == 5)
    else:
        froe.once(program=froe.recorder())
    assert "process_object is paused" in ask(froe, "workflows", "pause", "process_object").stdout
    assert workflow(froe, "process_object")["paused"] is True
    fill(fake, prefix, b=4)
    if not while_running:
        running = froe.start("run", "--cron", "* * * * * *", program=froe.recorder())
    # The listing goes on, the processing does not.
    running.until("they are found", lambda: froe.is_up() and workflow(froe, "process_object")["queued"] == 4)
    ticked = workflow(froe, "fetch_s3_buckets")["last_tick_at"]
    running.until("another tick", lambda: workflow(froe, "fetch_s3_buckets")["last_tick_at"] != ticked)
    assert len(froe.record.begun()) == 5
    assert objects(froe, "workflows", "resume", "process_object") == [{"workflow": "process_object", "paused": False}]
    running.until("they are done", lambda: len(froe.record.ended()) == 9)
    assert running.stop().code == DRAINED


@pytest.mark.parametrize("while_running", [True, False])
def test_what_is_not_there(fake, froe, prefix, while_running):
    assert "does not exist" in ask(froe, "workflows", "list", expect=STORE).stderr
    fill(fake, prefix, a=1)
    running = None
    if while_running:
        running = froe.start("run", "--cron", NEVER, program=["true"])
        running.until("it is up", froe.is_up)
    else:
        froe.once(program=["true"])
    for words in (["pause", "nope"], ["resume", "nope"], ["list", "nope"]):
        assert 'no workflow "nope"' in ask(froe, "workflows", *words, expect=INTERNAL).stderr
    assert objects(froe, "workflows", "list", "--groups", "nope") == []
    for words in (["workflows"], ["workflows", "stop", "x"], ["workflows", "pause"], ["workers", "kill"],
                  ["workflows", "pause", "x", "--groups"]):
        assert ask(froe, *words, expect=USAGE).stderr
    if running:
        assert running.stop().code == DRAINED


def test_check_looks_at_the_store(fake, froe, prefix):
    fake.make_bucket(prefix + "1")

    def store(*args, expect=DRAINED):
        result = froe.run("check", *args, "--store", f"sqlite:{froe.store}", "--bucket-prefix", prefix, "--json", plain=True)
        assert result.code == expect, result
        return json.loads(result.stdout)["store"]
    found = store()
    assert found["ok"] is True and "will be made" in found["what"] and not froe.store.exists()
    fake.raw.put(prefix + "1", "k", b"x")
    froe.once(program=["true"])
    found = store()
    assert found["ok"] is True and "SQLite" in found["what"] and str(froe.store) in found["uri"]
    running = froe.start("run", "--cron", NEVER, program=["true"])
    running.until("it is up", froe.is_up)
    assert "works on it" in store()["what"]
    assert running.stop().code == DRAINED
    froe.store.write_bytes(b"this is no store, and never was one" * 100)
    assert store(expect=STORE)["ok"] is False

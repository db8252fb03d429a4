"""Buckets that no rule can want anything of: what is in them is counted and left alone, in turns with the others' listings."""
import json
import signal
import time

import pytest
from configs import base, once, write  # noqa: F401 - fixtures
from froe import DENIED, DRAINED

SAID = "no rule wants anything of some buckets; their objects are left alone and counted"
UNCOUNTED = "a bucket that no rule wants anything of cannot be listed; its objects are left alone, and not counted"


@pytest.fixture
def three(server, prefix):
    """One object in `one`, two in `two`, none in `zero`."""
    names = {name: prefix + name for name in ("one", "two", "zero")}
    for bucket in names.values():
        server.make_bucket(bucket)
    server.raw.put(names["one"], "key", b"x")
    server.raw.fill(names["two"], ((key, b"x") for key in ("a", "b")))
    return names


def no_rule(froe, bucket):
    return froe.status_of(bucket)["skipped"]["no_rule"]


@pytest.mark.core
def test_they_are_counted(server, froe, prefix, three, write, once):
    config = write(base(froe, prefix, rules=[{"buckets": three["one"], "handler": "discard"}]))
    checked = froe.run("check", "--config", config, plain=True)
    assert checked.code == DRAINED and f"ok    {three['two']}: left alone: no rule wants anything of it\n" in checked.stdout
    assert "cannot be listed" not in checked.stdout
    dry = once(config, "--dry-run")
    assert f"{three['two']}: would process and delete 0 objects (0 B), skip 2 no_rule\n" in dry.stdout
    result = once(config)
    [said] = result.said(SAID)
    assert (said["level"], said["buckets"], said["first"]) == ("info", 2, three["two"])
    [summary] = result.said("drained")
    assert (summary["objects"], summary["no_rule"], summary["buckets"]) == (1, 2, 3)
    assert [server.keys(three[name]) for name in ("one", "two", "zero")] == [[], ["a", "b"], []]
    assert [no_rule(froe, three[name]) for name in ("one", "two", "zero")] == [0, 2, 0]
    assert froe.status_of(three["two"])["listing"] == "complete"


def test_no_bucket_is_wanted(fake, froe, prefix, write, once):
    """Somebody may have mistyped a pattern."""
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "key", b"x")
    result = once(write(base(froe, prefix, rules=[{"buckets": prefix + "x", "handler": "discard"}])))
    [said] = result.said(SAID)
    assert (said["level"], said["buckets"]) == ("warn", 1)
    assert result.said("drained")[0]["no_rule"] == 1


def forbid_listing(server, bucket):
    if "faults" in server.can:
        server.misbehave(f"deny access={server.access_key} action=s3:ListBucket bucket={bucket}")
    else:
        server.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}]}))


def allow_listing(server, bucket):
    if "faults" in server.can:
        server.behave()
    else:
        server.s3.delete_bucket_policy(Bucket=bucket)


@pytest.mark.needs("strict_auth")
def test_one_that_may_not_be_listed(server, froe, prefix, three, write, once):
    """It is said, and no failure; that of a bucket of which something is wanted is one."""
    wants_one = base(froe, prefix, rules=[{"buckets": three["one"], "handler": "discard"}])
    forbid_listing(server, three["two"])
    try:
        checked = froe.run("check", "--config", write(wants_one), plain=True)
        assert checked.code == DRAINED, checked
        assert f"note  {three['two']}: it cannot be listed, so its objects are not counted: " in checked.stdout
        found = json.loads(froe.run("check", "--json", "--config", write(wants_one), plain=True).stdout)
        assert found["ok"] and [item["bucket"] for item in found["buckets"] if "uncounted" in item] == [three["two"]]
        dry = once(write(wants_one), "--dry-run")
        assert f"{three['two']}: no rule wants anything of it, and it cannot be counted: " in dry.stdout
        result = once(write(wants_one))
        [said] = result.said(UNCOUNTED)
        assert (said["level"], said["bucket"]) == ("info", three["two"]) and "denied" in said["error"].lower(), said
        assert [line for line in result.log if line["level"] == "error"] == []
        assert result.said("drained")[0]["no_rule"] == 0
        once(write(base(froe, prefix, rules=[{"handler": "discard"}])), expect=DENIED)
    finally:
        allow_listing(server, three["two"])
    assert server.keys(three["one"]) == [] and server.keys(three["two"]) == ["a", "b"]


def test_a_reload_lists_them_too(fake, froe, prefix, write):
    """What one configuration counts the next one drains; what is counted while froe runs can be seen meanwhile."""
    for name in ("one", "two"):
        fake.make_bucket(prefix + name)
        fake.raw.put(prefix + name, "key", b"x")
    config = write(base(froe, prefix, cron="* * * * * *", rules=[{"buckets": prefix + "one", "handler": "discard"}]))
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("it is counted", lambda: froe.status_of(prefix + "two") and no_rule(froe, prefix + "two") == 1)
    running.until("the other is gone", lambda: fake.keys(prefix + "one") == [])
    assert fake.keys(prefix + "two") == ["key"]
    write(base(froe, prefix, cron="* * * * * *", rules=[{"buckets": prefix + "t*", "handler": "discard"}]))
    running.signal(signal.SIGHUP)
    running.until("it is drained", lambda: fake.keys(prefix + "two") == [])
    running.until("nothing is left", lambda: no_rule(froe, prefix + "two") == 0)
    assert running.stop().code == DRAINED


PAGES = 300


@pytest.fixture
def giant(fake, prefix):
    """A bucket that takes some seconds to be listed, and is the first in order."""
    fake.make_bucket(prefix + "a")
    fake.seed(prefix + "a", PAGES * 1000)
    fake.make_bucket(prefix + "b")
    fake.raw.put(prefix + "b", "key", b"x")
    fake.misbehave("latency op=list ms=20")
    return prefix + "a"


def lists(fake):
    return fake.stats()["requests"]["list"]


def test_long_listings_take_turns(fake, froe, prefix, giant, write):
    config = write(base(froe, prefix, max_pollers=1, rules=[{"buckets": prefix + "b", "handler": "discard"}]))
    before = lists(fake)
    running = froe.start("run", "--log", "json", "--config", config, plain=True)
    running.until("it is gone", lambda: fake.keys(prefix + "b") == [])
    assert lists(fake) - before < PAGES / 2
    running.until("all is counted", lambda: no_rule(froe, giant) == PAGES * 1000)
    assert running.stop().code == DRAINED
    assert lists(fake) - before < PAGES * 1.2  # no page twice, but for those that tell whether a bucket is empty


@pytest.mark.fleet
def test_long_listings_take_turns_in_a_fleet(fake, fleet, folder, giant):
    """With the counts of whichever worker made the turn before."""
    prefix = fleet.froe.prefix
    config = folder / "froe.yaml"
    config.write_text(json.dumps({"rules": [{"buckets": prefix + "b"}]}))
    before = lists(fake)
    fleet.options |= {"config": config, "max_pollers": 1, "slots": 2, "lease": "15s"}
    fleet.start(2)
    fleet.until("it is gone", lambda: fake.keys(prefix + "b") == [])
    assert lists(fake) - before < PAGES / 2

    def counted():
        found = fleet.status().get(giant)
        return found and found["skipped"]["no_rule"] == PAGES * 1000 and found["listing"] == "complete"
    fleet.until("all is counted", counted)
    fleet.stop()


def test_so_many_at_once(fake, froe, prefix, write, once):
    """--max-pollers holds for them as for all."""
    for i in range(6):
        fake.make_bucket(f"{prefix}{i}")
        fake.seed(f"{prefix}{i}", 10000)
    fake.misbehave("latency op=list ms=30")
    config = write(base(froe, prefix, max_pollers=2, rules=[{"buckets": prefix + "x", "handler": "discard"}]))
    began = time.monotonic()
    [summary] = once(config).said("drained")
    assert summary["no_rule"] == 60000
    assert time.monotonic() - began >= 6 * 10 * 0.03 / 2

"""A server that misbehaves: what was not read whole and right is never a success, and one bad bucket does not slow the others."""
import hashlib
import random
import time

import pytest
from froe import DENIED, DRAINED, INTERNAL, PARKED, UNREACHABLE

pytestmark = pytest.mark.timeout(120)


def sha(body):
    return hashlib.sha256(body).hexdigest()


def make(fake, bucket, n, size=50000):
    fake.make_bucket(bucket)
    bodies = {f"k{i:04d}": random.randbytes(size) for i in range(n)}
    fake.raw.fill(bucket, bodies.items())
    return bodies


@pytest.mark.core
@pytest.mark.parametrize("order", [
    "truncate op=get after=20000", "truncate op=get after=0", "reset op=get after=20000", "reset op=get", "badsum op=get where=body",
    "badsum op=get where=header", "error op=get status=500", "error op=get status=503 code=SlowDown", "error op=get status=400 code=RequestTimeout",
    "latency op=get ms=300 jitter=300"])
def test_bad_downloads_are_retried(fake, froe, prefix, capture, order):
    """Each object comes right in the end, and no success was claimed over a body that was not right: the program may have been
    started for one, but its run did not count, and the object was there until it was read well."""
    bucket = prefix + "1"
    bodies = make(fake, bucket, 6)
    fake.misbehave(f"{order} bucket={bucket} count=6")
    froe.once("--retries", 8, "--backoff", "100ms", program=capture.program(), timeout=90)
    assert fake.keys(bucket) == [] and froe.parked() == []
    good = [one["key"].decode() for one in capture.seen() if one["sha256"] == sha(bodies[one["key"].decode()])]
    assert sorted(set(good)) == sorted(bodies)


@pytest.mark.parametrize("order", ["truncate op=get after=20000", "badsum op=get where=body", "reset op=get after=100"])
def test_a_body_that_never_comes_right_is_parked(fake, froe, prefix, capture, order):
    bucket = prefix + "1"
    make(fake, bucket, 2)
    fake.misbehave(f"{order} bucket={bucket} key=k0000")
    froe.once("--retries", 2, "--backoff", "50ms", program=capture.program(), expect=PARKED)
    assert fake.keys(bucket) == ["k0000"]
    [one] = froe.parked()
    assert one["key"] == "k0000" and one["error"]
    # The program never saw the end of such a body: to it, end of input means that all of it was right.
    assert [one["key"] for one in capture.seen()] == [b"k0001"]


@pytest.mark.core
def test_bad_body_is_never_discarded(fake, froe, prefix):
    bucket = prefix + "1"
    make(fake, bucket, 3)
    fake.misbehave(f"badsum op=get where=body bucket={bucket} key=k0001")
    froe.once("--discard", "--retries", 1, "--backoff", "50ms", expect=PARKED)
    assert fake.keys(bucket) == ["k0001"]


@pytest.mark.timeout(180)
def test_stalled_body(fake, froe, prefix, capture):
    """Bytes stop coming: the attempt's time runs out, others go on, and a later attempt reads it."""
    bucket = prefix + "1"
    bodies = make(fake, bucket, 5)
    fake.misbehave(f"stall op=get after=1000 bucket={bucket} key=k0002 count=1")
    began = time.monotonic()
    froe.once("--timeout", "3s", "--backoff", "100ms", program=capture.program(), timeout=90)
    assert time.monotonic() - began < 40
    assert fake.keys(bucket) == []
    assert sorted(one["sha256"] for one in capture.seen()) == sorted(map(sha, bodies.values()))


def test_stall_parks_by_timeout(fake, froe, prefix):
    bucket = prefix + "1"
    make(fake, bucket, 2)
    fake.misbehave(f"stall op=get after=1000 bucket={bucket} key=k0000")
    froe.once("--timeout", "1s", "--retries", 1, "--backoff", "50ms", program=froe.recorder(), expect=PARKED)
    [one] = froe.parked()
    assert one["attempts"] == 2 and one["key"] == "k0000"
    assert fake.keys(bucket) == ["k0000"]


@pytest.mark.timeout(180)
def test_slow_down_slows_that_bucket_only(fake, froe, prefix):
    """One bucket may be asked 8 times a second, the other as often as one likes: that one is done long before the first could be.
    Then the first goes on at whatever rate it is allowed."""
    slow, fast = prefix + "slow", prefix + "z-fast"
    make(fake, slow, 150, size=100)
    make(fake, fast, 300, size=100)
    fake.misbehave(f"slowdown op=read,write bucket={slow} rate=8")
    running = froe.start("run", "--once", "--slots", 8, program=froe.recorder())
    running.until("the fast bucket is drained", lambda: not fake.keys(fast), timeout=60)
    left = len(fake.keys(slow))
    assert left > 50, f"the fast bucket waited for the slow one: only {left} are left there"
    status = froe.status_of(slow)
    assert status["throttled"] and status["limit"] is not None
    assert not froe.status_of(fast)["throttled"]
    fake.behave()
    fake.misbehave(f"slowdown op=read,write bucket={slow} rate=60")
    result = running.wait(100)
    assert result.code == DRAINED, result
    assert fake.keys(slow) == [] and froe.parked() == []
    # Being asked to slow down is no failed attempt of an object.
    assert len(froe.record.begun()) == 450


def test_throttled_listing(fake, froe, prefix):
    make(fake, prefix + "1", 5, size=10)
    fake.misbehave(f"error op=list status=503 code=SlowDown bucket={prefix}1 count=8\nerror op=list-buckets status=503 code=SlowDown count=2")
    froe.once("--discard", timeout=90)
    assert fake.keys(prefix + "1") == []


@pytest.mark.parametrize("how", ["cut", "junk", "error"])
def test_malformed_listing_is_tried_again(fake, froe, prefix, how):
    make(fake, prefix + "1", 5, size=10)
    fake.misbehave(f"badxml op=list how={how} bucket={prefix}1 count=2\nbadxml op=list-buckets how={how} count=1")
    froe.once("--discard", timeout=90)
    assert fake.keys(prefix + "1") == []


def test_listing_that_never_works(fake, froe, prefix):
    """The other buckets are drained, and the end is no success."""
    make(fake, prefix + "1", 3, size=10)
    make(fake, prefix + "2", 3, size=10)
    fake.misbehave(f"badxml op=list how=junk bucket={prefix}1")
    result = froe.run("run", "--once", "--discard", timeout=90)
    assert result.code in (INTERNAL, UNREACHABLE), result
    assert prefix + "1" in result.stderr
    fake.behave()
    assert fake.keys(prefix + "2") == [] and len(fake.keys(prefix + "1")) == 3


def test_buckets_of_other_regions(fake, froe, prefix):
    """Redirected once, signed for the region, and remembered."""
    regions = {"eu-west-1": 3, "ap-southeast-2": 2, "us-east-1": 1}
    for region, n in regions.items():
        bucket = prefix + region
        fake.make_bucket(bucket, region=region if region != fake.region else None)
        # The fake redirects our own client as well, so put with the region's signature.
        fake.in_region(region).fill(bucket, ((f"k{i}", region.encode()) for i in range(n * 20)))
    before = fake.stats()
    froe.once("--discard")
    after = fake.stats()
    for region in regions:
        assert fake.in_region(region).request("GET", f"/{prefix}{region}", [("list-type", "2")])[2].count(b"<Key>") == 0
    redirects = fake.redirects(after) - fake.redirects(before)
    assert redirects <= 10, f"{redirects} redirects: the region of a bucket is not remembered"


def test_server_that_is_away_for_a_while(fake, froe, prefix):
    make(fake, prefix + "1", 4, size=10)
    fake.misbehave("reset op=any")
    running = froe.start("run", "--cron", "* * * * * *", program=froe.recorder())
    time.sleep(4)
    assert running.process.poll() is None
    fake.behave()
    running.until("all is drained", lambda: not fake.keys(prefix + "1"), timeout=60)
    assert running.stop().code == DRAINED
    assert froe.parked() == [] and len(froe.record.ended()) == 4


def test_no_server(froe, prefix):
    """Nobody listens there."""
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    result = froe.run("run", "--once", "--discard", env=env, timeout=60)
    assert result.code == UNREACHABLE, result
    assert "127.0.0.1 port 9" in result.stderr


def test_denied_bucket_does_not_stop_the_others(fake, froe, prefix):
    make(fake, prefix + "1", 3, size=10)
    make(fake, prefix + "2", 3, size=10)
    fake.misbehave(f"deny access={fake.access_key} action=s3:ListBucket bucket={prefix}1")
    result = froe.run("run", "--once", "--discard")
    assert result.code == DENIED, result
    fake.behave()
    assert fake.keys(prefix + "2") == [] and len(fake.keys(prefix + "1")) == 3


def test_denied_gets_are_parked(fake, froe, prefix):
    make(fake, prefix + "1", 2, size=10)
    fake.misbehave(f"deny access={fake.access_key} action=s3:GetObject bucket={prefix}1")
    froe.once("--discard", "--retries", 1, "--backoff", "50ms", expect=PARKED)
    assert len(froe.parked()) == 2 and all("denied" in one["error"].lower() for one in froe.parked())


@pytest.mark.timeout(180)
def test_all_at_once(fake, froe, prefix, capture):
    """A bit of everything, at random, all the time; everything is drained, and every body that counted was right."""
    bucket = prefix + "1"
    bodies = make(fake, bucket, 150, size=3000)
    fake.misbehave("\n".join(f"{order} bucket={bucket} seed={i}" for i, order in enumerate((
        "error op=any status=500 p=0.05", "reset op=any p=0.05", "truncate op=get after=1000 p=0.05", "badsum op=get where=body p=0.05",
        "latency op=any ms=1 jitter=50", "error op=any status=503 code=SlowDown p=0.03", "badxml op=list p=0.1",
        "reset op=delete applied=yes p=0.1", "error op=delete status=500 applied=yes p=0.1"))))
    froe.once("--retries", 20, "--backoff", "20ms", program=capture.program(), timeout=150)
    assert fake.keys(bucket) == []
    for one in capture.seen():
        assert one["sha256"] == sha(bodies[one["key"].decode()])
    assert {one["key"].decode() for one in capture.seen()} == set(bodies)

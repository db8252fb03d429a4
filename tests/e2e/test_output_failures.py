"""Results that cannot be stored, and kills between a result and its object's delete: no object is deleted before its result is
durable."""
import json
import os
import random
import signal
import subprocess
import time

import pytest
from froe import PARKED
from places import files


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


@pytest.mark.needs("strict_auth")  # the fake and Ceph
def test_destination_that_refuses(server, froe, prefix, results):
    """Who may not write there: on Ceph by the bucket's policy, by the fake on order."""
    server.make_bucket(results)
    keys, owner = {}, server.s3
    if "users" in server.can:
        access, secret = server.add_user("u" + prefix.strip("-"))
        keys, owner = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}, server.client(access, secret)
    else:
        server.misbehave(f"deny access={server.access_key} action=s3:PutObject bucket={results}")
    owner.create_bucket(Bucket=prefix + "1")
    owner.put_object(Bucket=prefix + "1", Key="a", Body=b"x")
    args = ("--output", f"s3://{results}/{{key}}", "--retries", 1, "--backoff", "50ms")
    froe.once(*args, program=["cat"], expect=PARKED, env=keys)
    [parked] = froe.parked()
    assert f"could not be stored: PUT {results}/a: 403 AccessDenied" in parked["error"] and parked["attempts"] == 2
    assert owner.head_object(Bucket=prefix + "1", Key="a")["ContentLength"] == 1 and server.keys(results) == []
    if keys:
        server.s3.put_bucket_policy(Bucket=results, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{results}/*"]}]}))
    else:
        server.behave()
    froe.parked_do("retry", "--all")
    froe.once(*args, program=["cat"], env=keys)
    assert server.keys(results) == ["a"] and "Contents" not in owner.list_objects_v2(Bucket=prefix + "1")


@pytest.mark.core
@pytest.mark.parametrize("order", ["error op=put status=503 code=SlowDown p=0.3", "reset op=put p=0.2", "reset op=put applied=yes p=0.2",
                                   "error op=put status=500 p=0.2"])
def test_bad_destination(fake, froe, bucket, results, order):
    """On the fake alone, as all that needs faults on order."""
    fake.make_bucket(results)
    bodies = {f"k{i}": random.randbytes(3000) for i in range(40)}
    fake.raw.fill(bucket, bodies.items())
    fake.misbehave(f"{order} bucket={results}")
    froe.once("--output", f"s3://{results}/{{key}}", "--retries", 8, "--backoff", "50ms", program=["cat"], timeout=100)
    fake.behave()
    assert fake.keys(bucket) == [] and {key: fake.body(results, key) for key in fake.keys(results)} == bodies


def test_directory_that_is_gone(server, froe, bucket, out):
    server.raw.fill(bucket, [("a", b"x")])
    args = ("--output", f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms")
    froe.once(*args, program=["sh", "-c", f"rm -rf {out}; cat"], expect=PARKED)
    assert "the directory cannot be opened: No such file or directory" in froe.parked()[0]["error"]
    assert server.keys(bucket) == ["a"]
    out.mkdir()
    froe.parked_do("retry", "--all")
    froe.once(*args, program=["cat"])
    assert files(out) == {"a": b"x"} and server.keys(bucket) == []


def bounded(command, place):
    """With a file system of 1 MiB in that place, which nobody else sees."""
    script = f"mount -t tmpfs -o size=1m,mode=777 none {place} && exec \"$@\""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script, "sh", *command]


@pytest.mark.needs("odd_keys")
def test_no_space(server, froe, bucket, out):
    """What does not fit fails, with that reason, and stays; what fits is stored."""
    if subprocess.run(bounded(["true"], out), capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    server.raw.fill(bucket, [("large", random.randbytes(2 << 20)), ("small", b"x")])
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", froe.prefix, "--log", "json", "--output",
                           f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms", program=["cat"])
    look = ["sh", "-c", f"\"$@\"; code=$?; ls -A {out}; exit $code", "sh"]
    done = subprocess.run(bounded([*look, *command], out), env=froe.env(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == PARKED, done
    [parked] = froe.parked()
    assert f"{out}/large: it cannot be written: No space left on device" in parked["error"] and parked["attempts"] == 2
    assert server.keys(bucket) == ["large"] and done.stdout.split() == ["small"]


@pytest.mark.needs("odd_keys")
def test_directories_that_may_not_be_written(server, froe, bucket, out):
    """As somebody who is not above permissions."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    for name, mode in (("shut", 0o555), ("hidden", 0o666), ("open", 0o755)):
        (out / name).mkdir(mode=mode)
        (out / name).chmod(mode)
    server.raw.fill(bucket, [(f"{name}/a", b"x") for name in ("shut", "hidden", "open")] + [("shut/d/a", b"x")])
    command = froe.command("run", "--once", "--store", f"sqlite:{froe.store}", "--bucket-prefix", froe.prefix, "--log", "json", "--output",
                           f"{out}/{{key}}", "--retries", 1, "--backoff", "50ms", program=["cat"])
    done = subprocess.run([*(drop if os.geteuid() == 0 else []), *command], env=froe.env(), capture_output=True, text=True, timeout=60,
                          check=False)
    for name in ("shut", "hidden"):
        (out / name).chmod(0o755)
    assert done.returncode == PARKED, done
    errors = {one["key"]: one["error"] for one in froe.parked()}
    assert sorted(errors) == sorted(server.keys(bucket)) == ["hidden/a", "shut/a", "shut/d/a"]
    assert all("could not be stored" in error and "Permission denied" in error for error in errors.values()), errors
    assert files(out) == {"open/a": b"x"}


def test_timeout_while_storing(fake, froe, bucket, results):
    """By a PUT that takes long, which the fake alone can be told to."""
    fake.make_bucket(results)
    fake.raw.fill(bucket, [("a", b"x")])
    fake.misbehave(f"latency op=put ms=20000 bucket={results}")
    froe.once("--output", f"s3://{results}/{{key}}", "--retries", 0, "--timeout", "1s", program=["cat"], expect=PARKED)
    assert fake.keys(bucket) == ["a"] and "timed out" in froe.parked()[0]["error"]


# ---- kill -9 ----

@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("strict_auth")  # the fake and Ceph
@pytest.mark.parametrize("kind", ["bucket", "directory", "move"])
def test_killed_between_result_and_delete(server, froe, bucket, results, out, kind):
    """10 times, so 30 times on each server: once a result is there and before its object is deleted. No result is missing, no source was
    lost.

    However fast the machine is and however slow: froe is halted at some moment and looked at, goes on when no result is ahead of
    its object's delete just then, and is killed when one is. What counts is what is there after the kill: a delete may have been on
    its way."""
    server.make_bucket(results)
    server.make_bucket(results + "-done")
    bodies = {f"d/k{i:03d}": random.randbytes(2000 + i) for i in range(90)}
    server.raw.fill(bucket, bodies.items())
    if server.name == "fake":
        server.misbehave(f"latency op=delete ms=60 jitter=60 bucket={bucket}")
    output = f"{out}/{{key}}" if kind == "directory" else f"s3://{results}/{{key}}"
    then = ["--then", f"move:s3://{results}-done/{{key}}"] if kind == "move" else []

    def stored():
        return set(files(out)) if kind == "directory" else set(server.keys(results))

    def nothing_lost():
        """Whatever is not there as an object any more is there as a result, whole. What was looked at stays as it is."""
        left = set(server.keys(bucket))
        for key in set(bodies) - left - looked_at:
            body = (out / key).read_bytes() if kind == "directory" else server.body(results, key)
            assert body == bodies[key], key
            if kind == "move":
                assert server.body(results + "-done", key) == bodies[key], key
            looked_at.add(key)
        return left

    def halt(running, before):
        """False: it had ended before that."""
        for _ in range(50):
            time.sleep(random.random() * (0.05 if server.name == "fake" else 0.004))
            if running.process.poll() is not None:
                return False
            running.signal(signal.SIGSTOP)
            if (stored() - before) & set(server.keys(bucket)):
                break
            running.signal(signal.SIGCONT)
        return True

    looked_at = set()
    kills = between = 0
    for number in range(30):
        if between == 10:
            break
        before = stored()
        running = froe.start("run", "--once", "--max-runs-per-bucket", 4, "--output", output, *then, program=["cat"])
        end = time.monotonic() + 20
        while running.process.poll() is None and len(stored()) == len(before) and time.monotonic() < end:
            time.sleep(0.001)
        killed = halt(running, before)
        running.kill()
        left = nothing_lost()
        kills += killed
        between += killed and bool((stored() - before) & left)
        if len(left) < 40:  # more to do
            more = {f"m{number}/k{i:03d}": random.randbytes(1000 + i) for i in range(60)}
            bodies |= more
            server.raw.fill(bucket, more.items())
    print(f"{server.name}: {len(bodies)} objects, {kills} kills, {between} of them between a result and its delete")
    assert between == 10, (kills, between)
    if server.name == "fake":
        server.behave()
    froe.once("--output", output, *then, program=["cat"], timeout=90)
    looked_at.clear()
    assert nothing_lost() == set() and froe.parked() == []
    if kind == "directory":  # a kill in the instant of a replacement may leave its temporary name
        assert {path: body for path, body in files(out).items() if ".froe-" not in path} == bodies

"""Versioned buckets: the version that was read is deleted for good; older ones then come to light and are drained too."""
import hashlib

import pytest

pytestmark = [pytest.mark.needs("versioning"), pytest.mark.timeout(180)]


def drain(server, froe, bucket, program, rounds=10):
    """Until no current object is left; each --once is a pass, and a delete uncovers the version below for the next."""
    for _ in range(rounds):
        froe.once(program=program)
        if not server.keys(bucket):
            return
    raise AssertionError(f"still there after {rounds} passes: {server.versions(bucket)}")


@pytest.mark.core
def test_deletes_by_version(server, froe, prefix, capture):
    bucket = prefix + "1"
    server.make_bucket(bucket, versioning="Enabled")
    ids = {server.s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"x")["VersionId"] for i in range(5)}
    froe.once(program=capture.program())
    assert {one["env"]["FROE_VERSION_ID"].decode() for one in capture.seen()} == ids
    assert server.versions(bucket) == []  # no delete markers either
    assert froe.status_of(bucket)["deletes"] == "versioned"


def test_older_versions_are_drained_too(server, froe, prefix, capture):
    bucket = prefix + "1"
    server.make_bucket(bucket, versioning="Enabled")
    bodies = [f"{key} {i}".encode() for key in ("a", "b") for i in range(3)]
    for body in bodies:
        server.s3.put_object(Bucket=bucket, Key=body.split()[0].decode(), Body=body)
    drain(server, froe, bucket, capture.program())
    assert server.versions(bucket) == []
    seen = sorted(one["sha256"] for one in capture.seen())
    assert seen == sorted(hashlib.sha256(body).hexdigest() for body in bodies)


def test_hidden_versions_stay(server, froe, prefix, capture):
    """What a delete marker hides is not listed, and so it is not touched."""
    bucket = prefix + "1"
    server.make_bucket(bucket, versioning="Enabled")
    server.s3.put_object(Bucket=bucket, Key="hidden", Body=b"h")
    server.s3.delete_object(Bucket=bucket, Key="hidden")
    server.s3.put_object(Bucket=bucket, Key="shown", Body=b"s")
    froe.once(program=capture.program())
    assert [one["key"] for one in capture.seen()] == [b"shown"]
    assert sorted((key, marker) for key, _, marker in server.versions(bucket)) == [("hidden", False), ("hidden", True)]


def test_overwritten_while_it_runs(server, froe, prefix, capture, folder):
    """A new version is put while the old one is processed: the delete names the old one."""
    bucket, go = prefix + "1", folder / "go"
    server.make_bucket(bucket, versioning="Enabled")
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    running = froe.start("run", "--once", program=capture.program("wait", go))
    running.until("the first is seen", capture.seen)
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"second")
    go.touch()
    assert running.wait().code == 0
    if len(capture.seen()) == 1:
        assert server.body(bucket, "k") == b"second" and len(server.versions(bucket)) == 1
        drain(server, froe, bucket, capture.program())
    assert [one["sha256"] for one in capture.seen()] == [hashlib.sha256(b).hexdigest() for b in (b"first", b"second")]
    assert server.versions(bucket) == []


@pytest.mark.needs("suspended_versions")
def test_suspended(server, froe, prefix, capture):
    """The null version is not unique for ever, so it is deleted by condition; whatever that leaves, nothing unprocessed is gone."""
    bucket = prefix + "1"
    server.make_bucket(bucket, versioning="Enabled")
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"kept version")
    server.set_versioning(bucket, "Suspended")
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"null version")
    server.s3.put_object(Bucket=bucket, Key="n", Body=b"only null")
    drain(server, froe, bucket, capture.program())
    seen = {one["sha256"] for one in capture.seen()}
    assert {hashlib.sha256(b).hexdigest() for b in (b"null version", b"only null")} <= seen
    bodies = [server.s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
              for key, version, marker in server.versions(bucket) if not marker]
    assert bodies == ([] if hashlib.sha256(b"kept version").hexdigest() in seen else [b"kept version"])


def test_suspended_and_overwritten_while_it_runs(server, froe, prefix, capture, folder):
    """A null version is replaced in place: its id says nothing about which bytes it is."""
    bucket, go = prefix + "1", folder / "go"
    server.make_bucket(bucket, versioning="Enabled")
    server.set_versioning(bucket, "Suspended")
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    running = froe.start("run", "--once", program=capture.program("wait", go))
    running.until("the first is seen", capture.seen)
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"second")
    go.touch()
    assert running.wait().code == 0
    drain(server, froe, bucket, capture.program())
    assert [one["sha256"] for one in capture.seen()] == [hashlib.sha256(b).hexdigest() for b in (b"first", b"second")]


@pytest.mark.needs("null_version_id")
def test_versioning_enabled_late(server, froe, prefix, capture):
    """Objects from before have the version id `null`."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.s3.put_object(Bucket=bucket, Key="old", Body=b"old")
    server.set_versioning(bucket, "Enabled")
    server.s3.put_object(Bucket=bucket, Key="old", Body=b"new")
    drain(server, froe, bucket, capture.program())
    assert len(capture.seen()) == 2 and server.versions(bucket) == []

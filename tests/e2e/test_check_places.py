"""froe check on what outputs and `then` need: each permission is tried for what it is, and nothing is left behind."""
import json
import os
import subprocess

import pytest
from froe import DENIED, DRAINED, USAGE


def left(server, bucket):
    """What a check left there: objects, uploads."""
    return server.keys(bucket), server.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


@pytest.mark.core
@pytest.mark.needs("multipart")
def test_all_is_well(server, froe, bucket, results, folder):
    server.make_bucket(results)
    server.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    (folder / "out").mkdir()
    place = f"s3://{results}/r/{{stem}}.{{ext}}"
    for then in (f"move:s3://{results}/done/{{key}}", "tag:a=b", "keep", "delete"):
        checked = froe.run("check", "--output", place, "--output", f"{folder}/out/{{key}}", "--then", then)
        assert checked.code == DRAINED, checked
        assert f"ok    {place}: may be written" in checked.stdout and f"ok    {folder}/out/{{key}}: may be written" in checked.stdout
        assert (f"{bucket}: can be listed and read" in checked.stdout) == (then in ("tag:a=b", "keep")), checked.stdout
        assert ("objects may be moved there" in checked.stdout) == then.startswith("move")
        assert ("objects tagged" in checked.stdout) == then.startswith("tag")
    assert left(server, bucket) == (["a"], []) and left(server, results) == ([], [])
    assert list((folder / "out").iterdir()) == []
    found = json.loads(froe.run("check", "--json", "--output", place, "--then", "tag:a=b").stdout)
    assert found["ok"] and found["outputs"] == [{"output": place, "finding": "may be written", "ok": True}]
    assert found["buckets"][0]["write_tags"] == found["buckets"][0]["read_tags"] == "ok"


@pytest.mark.parametrize("action, then, output, code, finding", [
    ("s3:PutObject", "delete", True, DENIED, "FAIL  s3://RESULTS/r/{key}: CREATE upload of RESULTS/r/froe-check"),
    ("s3:PutObject", "move:s3://RESULTS/r/{key}", False, DENIED, "FAIL  s3://RESULTS/r/{key}: CREATE upload of RESULTS/r/froe-check"),
    ("s3:PutObjectTagging", "move:s3://RESULTS/r/{key}", False, DRAINED, "moved there, but none that has tags: s3:PutObjectTagging"),
    ("s3:PutObjectTagging", "keep", True, DENIED, "not with the tags of copy_tags: s3:PutObjectTagging"),
    ("s3:PutObjectTagging", "tag:a=b", False, DENIED, "FAIL  BUCKET: write tags: "),
    ("s3:GetObjectTagging", "tag:a=b", False, DENIED, "FAIL  BUCKET: read tags: "),
    ("s3:GetObjectTagging", "delete", True, DENIED, "FAIL  BUCKET: read tags: "),
    ("s3:GetObjectTagging", "move:s3://RESULTS/r/{key}", False, DRAINED, "note  BUCKET: objects that have tags cannot be moved"),
    ("s3:DeleteObject", "move:s3://RESULTS/r/{key}", False, DENIED, "FAIL  BUCKET: delete: "),
    ("s3:DeleteObject", "keep", True, DRAINED, "ok    BUCKET: can be listed and read; nothing is deleted from it"),
    ("s3:ListBucket", "move:s3://RESULTS/r/{key}", False, DENIED, "ok    s3://RESULTS/r/{key}: objects may be moved there"),
])
def test_each_permission_is_told(fake, froe, bucket, results, folder, action, then, output, code, finding):
    """Denied by the fake on order, one action at a time; Ceph's own policies are in test_other_users_results."""
    fake.make_bucket(results)
    config = folder / "froe.yaml"
    config.write_text(f"output: {{bucket: {results}, key: 'r/{{key}}', copy_tags: true}}\n" if output else "{}\n")
    fake.misbehave(f"deny access={fake.access_key} action={action}")
    checked = froe.run("check", "--config", config, "--then", then.replace("RESULTS", results))
    assert checked.code == code, checked
    assert finding.replace("RESULTS", results).replace("BUCKET", bucket) in checked.stdout, checked
    fake.behave()
    assert left(fake, bucket) == ([], []) and left(fake, results) == ([], [])


def test_upload_that_cannot_be_aborted_is_told(fake, froe, bucket, results):
    fake.make_bucket(results)
    fake.misbehave(f"deny access={fake.access_key} action=s3:AbortMultipartUpload")
    checked = froe.run("check", "--output", f"s3://{results}/{{key}}")
    assert checked.code == DENIED and "its upload is left behind" in checked.stdout, checked


@pytest.mark.needs("users")
def test_other_users_results(server, froe, prefix, results):
    """Listed by everybody, written by nobody but the owner; then by all."""
    server.make_bucket(results)
    access, secret = server.add_user("u" + prefix.strip("-"))
    keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}

    def check(*actions):
        names = [f"arn:aws:s3:::{results}", f"arn:aws:s3:::{results}/*"]
        server.s3.put_bucket_policy(Bucket=results, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": names}]}))
        return froe.run("check", "--output", f"s3://{results}/{{key}}", env=keys)
    denied = check("s3:ListBucket")
    assert denied.code == DENIED and f"FAIL  s3://{results}/{{key}}: CREATE upload of" in denied.stdout, denied
    allowed = check("s3:PutObject", "s3:AbortMultipartUpload")
    assert allowed.code == DRAINED and f"ok    s3://{results}/{{key}}: may be written" in allowed.stdout, allowed
    assert left(server, results) == ([], [])


def test_no_such_bucket_class_or_region(fake, froe, bucket, results, folder):
    checked = froe.run("check", "--output", f"s3://{results}/{{key}}", "--then", f"move:s3://{results}-2/{{key}}")
    assert checked.code == USAGE and checked.stdout.count("FAIL") == 2 and "NoSuchBucket" in checked.stdout, checked
    fake.make_bucket(results, region="eu-west-1")
    config = folder / "froe.yaml"
    config.write_text(f"output: {{bucket: {results}, key: 'r/{{key}}', region: eu-west-1}}\n")
    assert froe.run("check", "--config", config).code == DRAINED
    assert left(fake, results) == ([], [])


def test_server_without_uploads_in_parts(fake, froe, bucket, results):
    fake.make_bucket(results)
    fake.misbehave("error op=create-upload status=501 code=NotImplemented")
    checked = froe.run("check", "--output", f"s3://{results}/{{key}}")
    assert checked.code == DRAINED and "whether it may be written is not known" in checked.stdout, checked


def test_what_a_run_would_refuse(fake, froe, bucket):
    refused = froe.run("check", "--output", f"s3://{bucket}/{{key}}")
    assert refused.code == USAGE and "which is drained itself" in refused.stderr, refused


def without_power(command):
    """As somebody who is not above permissions."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    return [*drop, *command] if os.geteuid() == 0 else command


@pytest.mark.parametrize("mode", [0o555, 0o333, 0o666])
def test_directory_that_may_not_be_written(fake, froe, bucket, folder, mode):
    (folder / "out").mkdir()
    (folder / "out").chmod(mode)
    args = ("check", "--bucket-prefix", froe.prefix, "--output", f"{folder}/out/{{key}}")
    checked = subprocess.run(without_power(froe.command(*args)), env=froe.env(), capture_output=True, text=True, timeout=60, check=False)
    (folder / "out").chmod(0o777)
    assert checked.returncode == DENIED and "files cannot be made in it: Permission denied" in checked.stdout, checked

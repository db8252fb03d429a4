"""Where credentials and settings come from: variables, profiles, credential_process; and TLS with an own authority."""

import pytest
import servers
from froe import NO_CREDENTIALS, UNREACHABLE, USAGE

NONE = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
NO_SETTINGS = NONE | {"AWS_REGION": None, "AWS_ENDPOINT_URL": None}


@pytest.fixture
def bucket(server, prefix):
    """Drained in the end, so whatever credentials were found were right."""
    server.make_bucket(prefix + "1")
    server.raw.put(prefix + "1", "k", b"x")
    yield prefix + "1"
    assert server.keys(prefix + "1") == []


def write(froe, name, text):
    path = froe.home / ".aws" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def keys_of(server, secret=None):
    return f"aws_access_key_id = {server.access_key}\naws_secret_access_key={secret or server.secret_key}\n"


def test_shared_credentials_file(server, bucket, froe):
    write(froe, "credentials", f"# a comment\n[other]\n{keys_of(server, 'wrong')}\n[default]\n{keys_of(server)}")
    froe.once("--discard", env=NONE)


def test_profile(server, bucket, froe):
    write(froe, "credentials", f"[default]\n{keys_of(server, 'wrong')}[mine]\n{keys_of(server)}")
    froe.once("--discard", env=NONE | {"AWS_PROFILE": "mine"})


def test_config_file_has_all(server, bucket, froe):
    write(froe, "config", f"[profile mine]\nregion = {server.region}\nendpoint_url = {server.endpoint}\n{keys_of(server)}")
    froe.once("--discard", env=NO_SETTINGS | {"AWS_PROFILE": "mine"})


def test_files_elsewhere(server, bucket, froe, folder):
    (folder / "c").write_text(f"[default]\n{keys_of(server)}")
    (folder / "f").write_text(f"[default]\nregion={server.region}\n")
    froe.once("--discard", env=NONE | {"AWS_REGION": None, "AWS_SHARED_CREDENTIALS_FILE": folder / "c", "AWS_CONFIG_FILE": folder / "f"})


def test_variables_go_before_files(server, bucket, froe):
    write(froe, "credentials", f"[default]\n{keys_of(server, 'wrong')}")
    write(froe, "config", "[default]\nendpoint_url = http://127.0.0.1:9\nregion = eu-north-1\n")
    froe.once("--discard")


def test_s3s_own_endpoint_goes_before_the_general_one(server, bucket, froe):
    froe.once("--discard", env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": server.endpoint})


def test_default_region_variable(server, bucket, froe):
    froe.once("--discard", env={"AWS_REGION": None, "AWS_DEFAULT_REGION": server.region})


def test_credential_process(server, bucket, froe, folder):
    helper = folder / "helper with space"
    helper.write_text('#!/bin/sh\necho asked >>"$(dirname "$0")/asked"\n'
                      f'printf \'{{"Version": 1, "AccessKeyId": "{server.access_key}", "SecretAccessKey": "{server.secret_key}"}}\'\n')
    helper.chmod(0o755)
    write(froe, "config", f'[default]\ncredential_process = "{helper}" --some "argument here"\n')
    froe.once("--discard", env=NONE)
    assert (folder / "asked").read_text().count("asked") == 1


def test_credential_process_that_expires(server, bucket, froe, folder):
    """Asked again before they end; here they end at once, all the time."""
    for i in range(20):
        server.raw.put(bucket, f"more-{i}", b"x")
    helper = folder / "helper"
    helper.write_text('#!/bin/sh\necho asked >>"$(dirname "$0")/asked"\nend=$(date -u -d "+3 seconds" +%Y-%m-%dT%H:%M:%SZ)\n'
                      f'printf \'{{"Version": 1, "AccessKeyId": "{server.access_key}", "SecretAccessKey": "{server.secret_key}", '
                      '"Expiration": "%s"}\' "$end"\n')
    helper.chmod(0o755)
    write(froe, "config", f"[default]\ncredential_process = {helper}\n")
    froe.once("--slots", 2, program=froe.recorder("sleep", "0.5"), env=NONE)
    assert (folder / "asked").read_text().count("asked") >= 2


@pytest.mark.parametrize("script, word", [
    ("exit 3", "credential_process"), ("echo nonsense", "credential_process"), ("echo '{\"Version\": 2}'", "version"),
    ("echo '{\"Version\": 1, \"AccessKeyId\": \"a\"}'", "credential_process"),
    ("yes '{'", "credential_process")])
@pytest.mark.timeout(180)
def test_credential_process_that_fails(fake, froe, folder, script, word):
    helper = folder / "helper"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    write(froe, "config", f"[default]\ncredential_process = {helper}\n")
    result = froe.run("run", "--once", "--discard", env=NONE, timeout=150)
    assert result.code == NO_CREDENTIALS and word in result.stderr.lower(), result


@pytest.mark.parametrize("text, env", [
    ("[default]\nregion = us-east-1\n", {}),
    ("[default]\naws_access_key_id = a\n", {}),
    ("[other]\naws_access_key_id = a\naws_secret_access_key = b\n", {}),
    ("no section at all\n", {}),
    ("[unclosed\naws_access_key_id = a\n", {}),
    ("\xff\xfe\x00", {}),
    ("[default]\naws_access_key_id = a\naws_secret_access_key = b\n", {"AWS_PROFILE": "missing"}),
    ("x" * 200000, {})])
def test_files_without_credentials(fake, froe, text, env):
    write(froe, "credentials", text)
    result = froe.run("run", "--once", "--discard", env=NONE | env)
    assert result.code in (NO_CREDENTIALS, USAGE), result
    assert result.stderr.strip()
    if "AWS_PROFILE" in env:
        assert "missing" in result.stderr


def test_session_token(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    fake.misbehave("user access=AKIATEMP secret=abc token=the/token+=")
    env = {"AWS_ACCESS_KEY_ID": "AKIATEMP", "AWS_SECRET_ACCESS_KEY": "abc"}
    assert froe.run("run", "--once", "--discard", env=env).code == NO_CREDENTIALS
    assert froe.run("run", "--once", "--discard", env=env | {"AWS_SESSION_TOKEN": "another"}).code == NO_CREDENTIALS
    froe.once("--discard", env=env | {"AWS_SESSION_TOKEN": "the/token+="})
    assert fake.keys(prefix + "1") == []


def test_expired_token(fake, froe, prefix):
    fake.misbehave("user access=AKIAOLD secret=abc token=t expired=yes")
    env = {"AWS_ACCESS_KEY_ID": "AKIAOLD", "AWS_SECRET_ACCESS_KEY": "abc", "AWS_SESSION_TOKEN": "t"}
    result = froe.run("run", "--once", "--discard", env=env)
    assert result.code == NO_CREDENTIALS and "expired" in result.stderr.lower(), result


# ---- TLS ----

@pytest.fixture
def fake_tls(authority, park, tmp_path):
    server = servers.FakeServer(tmp_path, park.build, park.wrapper, tls=(authority / "server.pem", authority / "server.key"),
                                ca=authority / "ca.pem")
    yield server
    server.stop()


@pytest.mark.core
def test_tls(fake_tls, froe, prefix, authority, capture):
    froe.server = fake_tls
    fake_tls.make_bucket(prefix + "1")
    for i in range(30):
        fake_tls.s3.put_object(Bucket=prefix + "1", Key=f"k{i}", Body=b"x" * 10000)
    froe.once(program=capture.program(), env={"AWS_CA_BUNDLE": authority / "ca.pem"})
    assert fake_tls.keys(prefix + "1") == [] and len(capture.seen()) == 30


def test_tls_without_the_authority(fake_tls, froe, prefix, authority):
    """Not trusted: nothing is sent, and the words say that it is the certificate."""
    froe.server = fake_tls
    for bundle in (None, authority / "other.pem"):
        result = froe.run("run", "--once", "--discard", env={"AWS_CA_BUNDLE": bundle})
        assert result.code == UNREACHABLE and "certificate" in result.stderr.lower(), result


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_bad_bundle(fake_tls, froe, folder, content):
    froe.server = fake_tls
    path = folder / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    result = froe.run("run", "--once", "--discard", env={"AWS_CA_BUNDLE": path})
    assert result.code in (USAGE, UNREACHABLE) and str(path) in result.stderr, result

"""TLS to PostgreSQL is libpq's, and its parameters in the URI do what libpq says of them."""
import postgres as postgresql
import pytest
from froe import STORE

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def tls_only(authority):
    if lacking := postgresql.missing():
        pytest.skip(f"{lacking} is missing: scripts/deps check installs it")
    server = postgresql.Postgres()
    try:
        server.demand_tls(authority / "server.pem", authority / "server.key")
        yield server
    finally:
        server.remove()


def refused(froe, uri):
    """What it says then, and nothing of it may be a hint at something else."""
    result = froe.once("--store", uri, program=["true"], expect=STORE, timeout=30)
    assert "CREATE DATABASE" not in result.stderr and "CREATE ROLE" not in result.stderr and "password" not in result.stderr, result
    assert postgresql.PASSWORD not in result.stderr
    return result.stderr


def test_without_tls_it_is_refused(fake, froe, tls_only):
    said = refused(froe, tls_only.uri("plain", sslmode="disable"))
    assert "no pg_hba.conf entry" in said and "does it want TLS" in said and "sslmode=disable" in said, said


def test_who_cannot_verify_refuses(fake, froe, tls_only, authority):
    assert "root certificate" in refused(froe, tls_only.uri("unverified", sslmode="verify-full"))
    another = {"sslmode": "verify-full", "sslrootcert": authority / "other.pem"}
    assert "certificate verify failed" in refused(froe, tls_only.uri("unverified", **another))
    elsewhere = tls_only.uri("unverified", sslmode="verify-full", sslrootcert=authority / "ca.pem", hostaddr="127.0.0.1")
    assert "does not match host name" in refused(froe, elsewhere.replace("@127.0.0.1:", "@db.invalid:"))
    assert tls_only.sql("SELECT nspname FROM pg_namespace WHERE nspname IN ('plain', 'unverified')") == []


def test_verified(fake, froe, prefix, tls_only, authority):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    for i in range(40):
        fake.raw.put(bucket, f"k{i}", b"x")
    froe.once("--store", tls_only.uri("verified", sslmode="verify-full", sslrootcert=authority / "ca.pem"), program=["true"])
    assert fake.keys(bucket) == []
    assert tls_only.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'verified'") == [["verified"]]

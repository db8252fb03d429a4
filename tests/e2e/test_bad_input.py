"""What people get wrong: each is a clear error that names the culprit, an exit code, and no harm."""
import os
import resource
import shutil
import sqlite3
import subprocess

import pytest
from froe import DENIED, DRAINED, NO_CREDENTIALS, STORE, UNREACHABLE, USAGE


def is_error(result, code, *words):
    assert result.code == code, result
    text = result.stderr.lower()
    assert text.strip(), "no word of explanation"
    for word in words:
        assert word.lower() in text, f"{word!r} is not in\n{result}"
    assert "Assertion" not in result.stderr and "core dumped" not in result.stderr


@pytest.fixture
def filled(fake, prefix):
    """A bucket that must not lose anything to a mistake."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", [("a", b"1"), ("b", b"2")])
    yield prefix + "1"
    assert fake.keys(prefix + "1") == ["a", "b"]


@pytest.mark.core
def test_no_handler(filled, froe, fake):
    result = froe.run("run", "--once")
    is_error(result, USAGE, "--discard", "-- program")


@pytest.mark.parametrize("words, culprit", [
    ([], "command"), (["frobnicate"], "frobnicate"), (["run", "--frobnicate"], "--frobnicate"), (["run", "--slots"], "--slots"),
    (["run", "--discard", "stray"], "stray"), (["run", "-x"], "-x"), (["status", "--slots", "3"], "--slots"),
    (["run", "--once=yes", "--discard"], "--once"), (["run", "--bucket-prefi", "x"], "--bucket-prefi"), (["help", "frobnicate"], "frobnicate"),
    (["parked"], "list"), (["parked", "frobnicate"], "frobnicate"), (["--slots", "3"], "--slots"), (["run", "--discard", "--", "cat"], "--discard"),
    (["version", "--frobnicate"], "--frobnicate")])
def test_command_lines(filled, froe, fake, words, culprit):
    is_error(froe.run(*words, plain=True), USAGE, culprit)


BAD = [
    ("--max-pollers", "S3_WORKER_MAX_CONCURRENT_BUCKET_POLLERS", ["0", "-1", "x", "1.5", "99999999999999999999", "", " 5"]),
    ("--max-runs-per-bucket", "S3_WORKER_MAX_RUNS_PER_BUCKET", ["-1", "x", "5 ", "0x10"]),
    ("--slots", "S3_WORKER_SLOTS", ["0", "-3", "many", "1e3", "4294967296"]),
    ("--cron", "S3_WORKER_CRON", ["", "* * * *", "* * * * * * *", "61 * * * *", "x * * * *", "* * 31 2 *x", "@often", "*/0 * * * *"]),
    ("--store", "FROE_STORE", ["", "mysql:x", "sqlite:", "/just/a/path", "sqlite"]),
    ("--retries", "FROE_RETRIES", ["-1", "x", "1.0", ""]),
    ("--timeout", "FROE_TIMEOUT", ["5", "x", "-1s", "1y", "s", "", "1s1", "99999999999999999999s"]),
    ("--backoff", "FROE_BACKOFF", ["1", "soon", "-1s"]),
    ("--min-age", "FROE_MIN_AGE", ["10", "old", "-1h"]),
    ("--include", "FROE_INCLUDE", ["[a", "a\\"]),
    ("--exclude", "FROE_EXCLUDE", ["[z-a]", "[!"]),
    ("--look-ahead", "FROE_LOOK_AHEAD", ["0", "-1", "x"]),
    ("--log", "FROE_LOG", ["xml", "", "JSON "]),
    ("--log-level", "FROE_LOG_LEVEL", ["loud", "", "5"]),
]


@pytest.mark.parametrize("option, variable, values", BAD, ids=[option for option, _, _ in BAD])
def test_values(filled, froe, fake, option, variable, values):
    """On the command line the option is named, in the environment the variable."""
    for value in values:
        given = ["run", "--discard", "--once"]
        is_error(froe.run(*given, option, value, plain=True, env={"HOME": froe.home}), USAGE, option)
        is_error(froe.run(*given, f"{option}={value}", plain=True), USAGE, option)
        if value or option in ("--cron", "--store"):  # an empty variable may well count as not set
            if value:
                is_error(froe.run(*given, plain=True, env={variable: value}), USAGE, variable)


def test_bad_variable_is_no_matter_where_it_is_overridden_or_not_used(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    result = froe.run("run", "--once", "--discard", "--slots", "3", env={"S3_WORKER_SLOTS": "bogus"})
    assert result.code in (DRAINED, USAGE)
    if result.code == USAGE:
        is_error(result, USAGE, "S3_WORKER_SLOTS")
    assert froe.run("version", plain=True, env={"S3_WORKER_SLOTS": "bogus"}).code == DRAINED


def test_limits_that_are_just_right(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    froe.once("--discard", "--retries", 0, "--look-ahead", 1, "--slots", 1, "--timeout", "1h30m", "--cron", "*/5 0-23/2 1,15 * 1-5",
              "--backoff", "1.5s", "--include", "[]k]", "--log-level", "debug")
    assert fake.keys(prefix + "1") == []


@pytest.mark.parametrize("value", ["", "Bucket", "x" * 64, "a/b", "../", "a b", "b\u00fccket"])
def test_odd_prefixes(filled, froe, fake, value):
    """None of them can be meant; if such a prefix is accepted at all, nothing matches it."""
    if not value:
        # The empty prefix means all buckets, which takes it as said and not by accident: refused or explicit, but never here.
        return
    result = froe.run("run", "--once", "--discard", "--bucket-prefix", value, plain=True)
    assert result.code in (DRAINED, USAGE), result


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://127.0.0.1", "http://", "http:///", "http://127.0.0.1:99999", "http://127.0.0.1:x",
                                 "http://user:secret@127.0.0.1:1", "http://127.0.0.1:1/path?x", "http://[::1", "http://a b", "http://-",
                                 "\x01"])
def test_bad_endpoints(filled, froe, fake, url):
    result = froe.run("run", "--once", "--discard", env={"AWS_ENDPOINT_URL": url})
    assert result.code in (USAGE, UNREACHABLE), result
    assert result.stderr.strip() and "secret" not in result.stderr


def test_region_that_cannot_be(filled, froe, fake):
    result = froe.run("run", "--once", "--discard", env={"AWS_REGION": "us east/1\r\nx: y"})
    is_error(result, USAGE, "region")


@pytest.mark.needs("strict_auth")
@pytest.mark.core
@pytest.mark.parametrize("wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"},
                                   {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}])
def test_wrong_credentials(server, froe, prefix, wrong):
    server.make_bucket(prefix + "1")
    server.raw.put(prefix + "1", "k", b"x")
    is_error(froe.run("run", "--once", "--discard", env=wrong), NO_CREDENTIALS)
    assert server.keys(prefix + "1") == ["k"]
    is_error(froe.run("run", "--discard", env=wrong, timeout=30), NO_CREDENTIALS)


def test_no_credentials(server, froe, prefix):
    nothing = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    result = froe.run("run", "--once", "--discard", env=nothing)
    is_error(result, NO_CREDENTIALS, "AWS_ACCESS_KEY_ID")
    half = froe.run("run", "--once", "--discard", env={"AWS_SECRET_ACCESS_KEY": None})
    is_error(half, NO_CREDENTIALS)


@pytest.mark.needs("users")
def test_other_users_bucket(server, froe, prefix):
    """Listed by nobody but its owner: another user's froe is told so, and touches nothing."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    server.raw.put(bucket, "k", b"x")
    access, secret = server.add_user("u" + prefix.strip("-"))
    result = froe.run("run", "--once", "--discard", env={"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret})
    # That user owns no bucket, so there is nothing to drain.
    assert result.code in (DRAINED, DENIED), result
    assert server.keys(bucket) == ["k"]


@pytest.mark.core
def test_denied_listing_of_buckets(filled, froe, fake):
    fake.misbehave(f"deny access={fake.access_key} action=s3:ListAllMyBuckets")
    result = froe.run("run", "--once", "--discard")
    is_error(result, DENIED, "denied")


def test_denied_deletes(fake, froe, prefix):
    """Processed, but may not be deleted: parked with that reason, and the program is not run again."""
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", "k", b"x")
    fake.misbehave(f"deny access={fake.access_key} action=s3:DeleteObject bucket={prefix}1")
    froe.once("--retries", 2, "--backoff", "50ms", program=froe.recorder(), expect=6)
    assert len(froe.record.begun()) == 1
    [one] = froe.parked()
    assert "delete" in one["error"].lower() and "denied" in one["error"].lower()
    fake.behave()
    froe.parked_do("retry", "--all")
    froe.once(program=froe.recorder())
    assert len(froe.record.begun()) == 1 and fake.keys(prefix + "1") == []


# ---- the store ----

def as_nobody():
    """Root may write anywhere; nobody may not."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_unwritable_folder(filled, froe, fake, folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    folder.chmod(0o755)
    if subprocess.run([froe.program, "version"], preexec_fn=as_nobody, capture_output=True, check=False).returncode != 0:
        pytest.skip("froe's build folder cannot be read by an unprivileged user here")
    result = froe.run("run", "--once", "--discard", "--store", f"sqlite:{closed}/froe.db", "--bucket-prefix", froe.prefix, plain=True,
                      limits=as_nobody)
    is_error(result, STORE, str(closed))


def test_unwritable_file(filled, froe, fake):
    froe.run("run", "--once", "--discard", "--bucket-prefix", "no-such-", "--store", f"sqlite:{froe.store}", plain=True)
    assert froe.store.exists()
    froe.store.chmod(0o444)
    for path in (froe.folder, froe.store.parent):
        path.chmod(0o755)
    if subprocess.run([froe.program, "version"], preexec_fn=as_nobody, capture_output=True, check=False).returncode != 0:
        pytest.skip("froe's build folder cannot be read by an unprivileged user here")
    is_error(froe.run("run", "--once", "--discard", limits=as_nobody), STORE, str(froe.store))


@pytest.mark.parametrize("path, culprit", [("/dev/null", "/dev/null"), ("/proc/nonsense/froe.db", "/proc/nonsense"),
                                           ("/dev/full/x", "/dev/full")])
def test_store_where_none_can_be(filled, froe, fake, path, culprit):
    is_error(froe.run("run", "--once", "--discard", "--store", f"sqlite:{path}", "--bucket-prefix", froe.prefix, plain=True), STORE,
             culprit)


def test_store_is_a_folder(filled, froe, fake):
    froe.store.mkdir(parents=True)
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))


@pytest.mark.parametrize("content", [b"this is no database", b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8176, os.urandom(20000)])
def test_store_is_something_else(filled, froe, fake, content):
    froe.store.parent.mkdir()
    froe.store.write_bytes(content)
    for words in (["run", "--once", "--discard"], ["status"], ["parked", "list"]):
        is_error(froe.run(*words), STORE, str(froe.store))
        assert froe.store.read_bytes() == content, "what is not ours was written to"


def test_store_is_another_programs_database(filled, froe, fake):
    froe.store.parent.mkdir()
    database = sqlite3.connect(froe.store)
    database.execute("CREATE TABLE important (x)")
    database.execute("INSERT INTO important VALUES (1)")
    database.commit()
    database.close()
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))
    database = sqlite3.connect(froe.store)
    assert [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")] == ["important"]
    database.close()


def drained_store(fake, froe, prefix):
    """A store with something in it: a parked object."""
    fake.make_bucket(prefix + "9")
    fake.raw.fill(prefix + "9", ((f"some/key/{i}", b"x") for i in range(200)))
    froe.once("--retries", 0, program=["false"], expect=6, timeout=90)


@pytest.mark.core
def test_damaged_store(fake, froe, prefix):
    """A page of it is garbage: found, told, and not drained on as if nothing were."""
    drained_store(fake, froe, prefix)
    size = froe.store.stat().st_size
    assert size > 16384
    with open(froe.store, "r+b") as out:
        for offset in range(4096, size, 4096):
            out.seek(offset)
            out.write(os.urandom(2048))
    for more in ("-wal", "-shm"):
        if os.path.exists(f"{froe.store}{more}"):
            os.unlink(f"{froe.store}{more}")
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))
    assert len(fake.keys(prefix + "9")) == 200


def test_store_cut_off(fake, froe, prefix):
    drained_store(fake, froe, prefix)
    for more in ("-wal", "-shm"):
        if os.path.exists(f"{froe.store}{more}"):
            os.unlink(f"{froe.store}{more}")
    os.truncate(froe.store, froe.store.stat().st_size // 2)
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))
    assert len(fake.keys(prefix + "9")) == 200


def test_store_of_a_newer_froe(filled, froe, fake):
    froe.run("run", "--once", "--discard", "--bucket-prefix", "no-such-", "--store", f"sqlite:{froe.store}", plain=True)
    database = sqlite3.connect(froe.store)
    [version] = database.execute("PRAGMA user_version").fetchone()
    assert version > 0, "the store does not say which version of its format it is"
    database.execute(f"PRAGMA user_version = {version + 1000}")
    database.commit()
    database.close()
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))


@pytest.mark.core
def test_second_froe_on_the_same_store(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(6)))
    running = froe.start("run", "--slots", 2, program=froe.recorder("sleep", "1"))
    running.until("it works", froe.record.begun)
    is_error(froe.run("run", "--once", "--discard"), STORE, str(froe.store))
    # Neither by another name.
    other = froe.folder / "link.db"
    other.symlink_to(froe.store)
    is_error(froe.run("run", "--once", "--discard", "--store", f"sqlite:{other}", "--bucket-prefix", prefix, plain=True), STORE)
    running.until("the first goes on as if nothing had been", lambda: not fake.keys(prefix + "1"))
    assert running.stop().code == DRAINED
    assert len(froe.record.ended()) == 6


def test_full_disk(fake, froe, prefix, folder):
    """On a small file system of its own; what was not processed is still there, and when there is room again it goes on."""
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root; the limit of a file's size stands for it in the next test")
    try:
        fake.make_bucket(prefix + "1")
        fake.raw.fill(prefix + "1", ((f"{i:05d}" + "k" * 300, b"x") for i in range(3000)))
        store = ["--store", f"sqlite:{disk}/froe.db", "--bucket-prefix", prefix, "--log", "json"]
        result = froe.run("run", "--once", "--retries", 0, *store, program=froe.recorder("fail", "*7k*", 1), plain=True, timeout=90)
        is_error(result, STORE, "full")
        kept = set(fake.keys(prefix + "1"))
        done = {key for _, key in froe.record.ended()}
        gone = {f"{i:05d}" + "k" * 300 for i in range(3000)} - kept
        assert gone <= done, "deleted without having been processed"
        assert subprocess.run(["mount", "-o", "remount,size=64m", disk], capture_output=True, check=False).returncode == 0
        froe.record.mark()
        froe.run("run", "--once", "--retries", 0, *store, program=froe.recorder(), plain=True, timeout=90)
        froe.run("parked", "retry", "--all", "--store", f"sqlite:{disk}/froe.db", plain=True)
        result = froe.run("run", "--once", *store, program=froe.recorder(), plain=True, timeout=90)
        assert result.code == DRAINED, result
        assert fake.keys(prefix + "1") == []
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_file_size_limit(fake, froe, prefix):
    """No file may grow past 256 KiB, which is to froe as good as a full disk; works without being root."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"{i:05d}" + "k" * 300, b"x") for i in range(3000)))

    def limit():
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, 256 << 10))
    result = froe.run("run", "--once", "--retries", 0, program=["false"], timeout=90, limits=limit)
    is_error(result, STORE)
    assert len(fake.keys(prefix + "1")) == 3000
    froe.run("parked", "drop", "--all")
    froe.once("--discard", timeout=90)
    assert fake.keys(prefix + "1") == []


def test_store_file_vanishes(fake, froe, prefix):
    """Somebody removes it while froe runs: no crash, and nothing is deleted that was not processed."""
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(20)))
    running = froe.start("run", "--once", "--slots", 2, program=froe.recorder("sleep", "0.2"))
    running.until("it works", froe.record.begun)
    shutil.rmtree(froe.store.parent)
    result = running.wait(60)
    assert result.code in (DRAINED, STORE), result
    assert {f"k{i}" for i in range(20)} - set(fake.keys(prefix + "1")) <= {key for _, key in froe.record.ended()}

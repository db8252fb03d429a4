"""The program per object: what it is given, and what becomes of programs that behave badly."""
import os
import pathlib
import random
import time

import pytest
from froe import DRAINED, PARKED, USAGE, kill, processes_of

SECRETS = {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"}
PASSED = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"}
GIVEN = {"FROE_BUCKET", "FROE_KEY", "FROE_KEY_URL", "FROE_SIZE", "FROE_ETAG", "FROE_VERSION_ID", "FROE_ATTEMPT", "FROE_RUN_ID",
         "FROE_CONTENT_TYPE"}


def one_object(server, prefix, body=b"x", key="k", **more):
    server.make_bucket(prefix + "1")
    server.s3.put_object(Bucket=prefix + "1", Key=key, Body=body, **more)
    return prefix + "1"


def sh(script, *args):
    return ["/bin/sh", "-c", script, "sh", *args]


@pytest.mark.core
def test_environment(server, froe, prefix, capture):
    bucket = one_object(server, prefix, b"12345", ContentType="image/x-test; a=b",
                        Metadata={"color": "dark green", "two-words": "1", "empty": ""})
    froe.once(program=capture.program(), env={"LANG": "C", "USER": "somebody", "UNRELATED": "1", "FROE_RETRIES": "2",
                                              "LD_LIBRARY_PATH": "/nowhere"})
    [one] = capture.seen()
    env = {name: value.decode() for name, value in one["env"].items()}
    extra = set(env) - PASSED - GIVEN - {"PWD", "LC_CTYPE"}
    assert extra <= {"FROE_META_COLOR", "FROE_META_TWO_WORDS", "FROE_META_EMPTY"}, extra
    assert GIVEN <= set(env)
    assert env["FROE_BUCKET"] == bucket and env["FROE_KEY"] == "k" and env["FROE_KEY_URL"] == "k"
    assert env["FROE_SIZE"] == "5" and env["FROE_ATTEMPT"] == "1" and env["FROE_VERSION_ID"] == ""
    assert env["FROE_CONTENT_TYPE"] == "image/x-test; a=b"
    assert env["FROE_META_COLOR"] == "dark green" and env["FROE_META_TWO_WORDS"] == "1"
    assert env["FROE_ETAG"] == "827ccb0eea8a706c4c34a16891f84e7b"  # MD5 of 12345, without quotes
    assert env["FROE_RUN_ID"] and env["USER"] == "somebody" and env["HOME"] == str(froe.home)
    assert one["group_of_its_own"]
    # Nothing else of froe's is open in it: 0, 1, 2 and the one that lists them.
    assert len(one["fds"]) <= 4, one["fds"]


def test_runs_where_froe_runs(server, froe, prefix, capture):
    one_object(server, prefix)
    froe.once(program=capture.program())
    assert capture.seen()[0]["cwd"] == os.getcwd()


def test_is_found_in_path(server, froe, prefix, folder):
    one_object(server, prefix)
    program = folder / "bin" / "my-program"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho \"$1\" >>{folder}/said\n")
    program.chmod(0o755)
    froe.once(program=["my-program", "an argument"], env={"PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert (folder / "said").read_text() == "an argument\n"


@pytest.mark.parametrize("make", ["missing", "not executable", "a folder"])
def test_program_that_cannot_run(fake, froe, prefix, folder, make):
    """Found out before anything is listed."""
    bucket = one_object(fake, prefix)
    path = folder / "p"
    if make == "not executable":
        path.write_text("#!/bin/sh\n")
    elif make == "a folder":
        path.mkdir()
    result = froe.run("run", "--once", program=[path])
    assert result.code == USAGE and str(path) in result.stderr, result
    assert fake.keys(bucket) == ["k"]


def test_interpreter_is_missing(fake, froe, prefix, folder):
    bucket = one_object(fake, prefix)
    path = folder / "p"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    result = froe.once("--retries", 0, program=[path], expect=PARKED)
    assert fake.keys(bucket) == ["k"], result


@pytest.mark.core
@pytest.mark.parametrize("script, words", [
    ("exit 1", "1"), ("exit 255", "255"), ("kill -SEGV $$", "signal"), ("kill -KILL $$", "signal"),
    ("echo first >&2; echo 'the last words' >&2; exit 4", "the last words"),
    ("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 5", "line 2999"),
    ("printf '\\033[31mred\\000\\377' >&2; exit 6", "red")])
def test_failures_are_told(fake, froe, prefix, script, words):
    bucket = one_object(fake, prefix)
    froe.once("--retries", 0, program=sh(script), expect=PARKED)
    [one] = froe.parked()
    assert words in one["error"], one
    assert len(one["error"].encode()) < 16384 and "\x1b" not in froe.run("parked", "list").stdout
    assert fake.keys(bucket) == ["k"]


@pytest.mark.core
def test_hangs(fake, froe, prefix, folder):
    """Ended after its time, with its children, and counted as a failed attempt; the others are not held up."""
    bucket = one_object(fake, prefix)
    fake.raw.fill(bucket, ((f"good{i}", b"x") for i in range(5)))
    mark = f"4711.{random.randrange(10**6)}"
    script = f'case $FROE_KEY in k) sleep {mark} & sleep {mark};; esac; cat >/dev/null'
    began = time.monotonic()
    froe.once("--timeout", "1s", "--retries", 1, "--backoff", "50ms", program=sh(script), expect=PARKED)
    assert 2 <= time.monotonic() - began < 30
    assert processes_of(mark) == []
    [one] = froe.parked()
    assert one["attempts"] == 2 and "1s" in one["error"] or "time" in one["error"]
    assert fake.keys(bucket) == ["k"]


@pytest.mark.core
def test_ignores_sigterm(fake, froe, prefix):
    bucket = one_object(fake, prefix)
    mark = f"4712.{random.randrange(10**6)}"
    froe.once("--timeout", "1s", "--retries", 0, program=sh(f"trap '' TERM INT HUP; while :; do sleep {mark}; done"), expect=PARKED)
    assert processes_of(mark) == [] and fake.keys(bucket) == ["k"]


@pytest.mark.core
@pytest.mark.parametrize("code, keys", [(0, []), (1, ["k"])])
def test_leaves_children_behind(fake, froe, prefix, code, keys):
    """What it started ends with it."""
    bucket = one_object(fake, prefix)
    mark = f"4713.{random.randrange(10**6)}"
    froe.once("--retries", 0, program=sh(f"sleep {mark} & sleep {mark} </dev/null >/dev/null 2>&1 & exit {code}"),
              expect=PARKED if code else DRAINED)
    assert processes_of(mark) == []
    assert fake.keys(bucket) == keys


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; sleep 0.2; exit 0", "head -c 10 >/dev/null"])
def test_does_not_read_its_input(server, froe, prefix, script):
    """Its exit code counts, once froe has read and verified the whole body by itself."""
    bucket = one_object(server, prefix, random.randbytes(3 << 20))
    froe.once(program=sh(script))
    assert server.keys(bucket) == [] and froe.parked() == []


def test_does_not_read_its_input_and_the_body_is_bad(fake, froe, prefix):
    bucket = one_object(fake, prefix, random.randbytes(3 << 20))
    fake.misbehave(f"badsum op=get where=body bucket={bucket}")
    froe.once("--retries", 1, "--backoff", "50ms", program=["true"], expect=PARKED)
    assert fake.keys(bucket) == [bucket and "k"]


def test_fails_without_reading(server, froe, prefix):
    bucket = one_object(server, prefix, random.randbytes(3 << 20))
    froe.once("--retries", 1, "--backoff", "50ms", program=sh("exit 9"), expect=PARKED)
    assert server.keys(bucket) == ["k"]


@pytest.mark.core
@pytest.mark.parametrize("where", ["1", "2"])
def test_writes_without_end(fake, froe, prefix, where):
    """Until its time is up, and no longer; what it writes is not hoarded in memory."""
    bucket = one_object(fake, prefix)
    running = froe.start("run", "--once", "--timeout", "2s", "--retries", 0,
                         program=sh(f"exec 1>/dev/null; exec yes 'a line of nothing' >&{where}"))
    most = 0
    while running.process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
            most = max([most] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")])
        except OSError:
            pass
        time.sleep(0.05)
        assert time.monotonic() - running.began < 60 * froe.patience
    assert running.wait().code == PARKED
    if froe.patience == 1:
        assert most < 100 << 10, f"{most} KiB"
    assert fake.keys(bucket) == ["k"]


@pytest.mark.core
def test_slow_reader_holds_the_download_back(fake, froe, prefix):
    """A big body is not kept in memory while the program takes its time."""
    fake.make_bucket(prefix + "1")
    for i in range(4):
        fake.s3.put_object(Bucket=prefix + "1", Key=f"k{i}", Body=random.randbytes(48 << 20))
    running = froe.start("run", "--once", program=sh("sleep 2; cat >/dev/null"))
    most = 0
    while running.process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
            most = max([most] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")])
        except OSError:
            pass
        time.sleep(0.05)
        assert time.monotonic() - running.began < 60 * froe.patience
    assert running.wait().code == DRAINED
    if froe.patience == 1:
        assert most < 64 << 10, f"{most} KiB"


def test_leaves_the_group(fake, froe, prefix):
    """A program that detaches a child into a session of its own: froe need not find that one, but it must not wait for it."""
    bucket = one_object(fake, prefix)
    mark = f"{random.randrange(20, 30)}.{random.randrange(10**6)}"
    began = time.monotonic()
    froe.once(program=sh(f"setsid sleep {mark} </dev/null & exit 0"))
    assert time.monotonic() - began < 15
    assert fake.keys(bucket) == []
    for pid, _ in processes_of(mark):
        kill(pid)


def test_many_short_programs(fake, froe, prefix):
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(1500)))
    froe.once("--max-runs-per-bucket", 0, program=["true"], timeout=90)
    assert fake.keys(prefix + "1") == []


def test_many_open_files(fake, froe, prefix):
    """A low limit of open files slows it down, and nothing worse."""
    import resource
    fake.make_bucket(prefix + "1")
    fake.raw.fill(prefix + "1", ((f"k{i}", b"x") for i in range(200)))
    result = froe.once("--slots", 200, "--max-runs-per-bucket", 0, program=froe.recorder(), timeout=90,
                       limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    assert fake.keys(prefix + "1") == [] and froe.parked() == [], result


@pytest.mark.core
def test_secrets_are_nowhere(server, froe, prefix, capture, folder):
    """Neither in the log at its loudest, nor in the program's environment, nor in a command line, nor in the store."""
    secret, token = server.secret_key, "a-session-token-that-nobody-else-would-have"
    bucket = one_object(server, prefix)
    server.raw.put(bucket, "bad", b"x")
    env = {}
    if server.name == "fake":
        # A key of its own with a secret that is found nowhere by chance, and a token.
        secret = "s3cr3t/" + "".join(random.choices("abcdefghijklmnop", k=33))
        server.misbehave(f"user access=AKIATEST secret={secret} token={token}")
        env = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
    elif server.name == "rgw":
        pytest.skip("rgw's secret key is the word test, which is found anywhere; covered by fake")
    elif server.name == "moto":
        secret = "s3cr3t/" + "".join(random.choices("abcdefghijklmnop", k=33))
        env = {"AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
    cause = folder / "go"
    running = froe.start("run", "--log-level", "debug", "--retries", 0, program=sh(
        'tr "\\0" "\\n" </proc/$$/environ >>"$1"; case $FROE_KEY in bad) env >&2; exit 1;; esac; while [ ! -e "$2" ]; do sleep 0.1; done',
        folder / "environ", cause), env=env)
    running.until("the program runs", lambda: (folder / "environ").exists())
    for pid, line in processes_of(str(folder)):
        assert secret not in line and token not in line, pid
    cause.touch()
    running.until("it is drained", lambda: server.keys(bucket) == ["bad"])
    result = running.stop()
    texts = [result.stderr, result.stdout, (folder / "environ").read_text()]
    texts += [path.read_bytes().decode("latin-1") for path in froe.store.parent.iterdir() if path.is_file()]
    texts.append(froe.run("status", "--json", env=env).stdout)
    texts.append(froe.run("parked", "list", env=env).stdout)
    for text in texts:
        assert secret not in text and token not in text
        assert "AWS4-HMAC-SHA256" not in text and "aws4_request" not in text

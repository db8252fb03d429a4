"""What programs may not do, as they find out themselves, by options and by rules; and what froe check says of it."""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess

import pytest
import yaml
from froe import DRAINED, PARKED, PROGRAMS, USAGE, processes_of

DENIED = "Permission denied"


@pytest.fixture
def kernel(froe, fake):
    """What this machine can take from programs."""
    found = json.loads(froe.run("check", "--json").stdout)["confine"]
    assert found["ok"]
    return found


def needs(kernel, *names):
    for name in names:
        if not kernel[name]:
            pytest.skip(f"this kernel has no {name}")


class Place:
    """A home with credentials, a directory to write in, and somebody to connect to."""

    def __init__(self, folder, home):
        self.open = folder / "open"
        self.open.mkdir()
        self.report = self.open / "report"
        (home / ".aws").mkdir()
        (home / ".aws/credentials").write_text("[default]\n")
        (home / "notes").write_text("no secret\n")
        self.outside = folder / "outside"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def program(self, *more):
        return ["/usr/bin/python3", PROGRAMS / "confined.py", self.report, self.port, self.outside, *more]

    def reports(self):
        return [json.loads(line) for line in self.report.read_text().splitlines()] if self.report.exists() else []

    def only(self):
        [report] = self.reports()
        return report


@pytest.fixture
def place(folder, froe):
    place = Place(folder, froe.home)
    yield place
    place.listener.close()


def one_object(fake, prefix, key="k"):
    fake.make_bucket(prefix + "1")
    fake.raw.put(prefix + "1", key, b"body")


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("level", [None, "no", "basic", "yes", "best-effort"])
def test_levels(fake, froe, prefix, place, kernel, level, pool):
    if level == "yes":
        needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    options = (["--confine", level, "--allow-write", place.open] if level else []) + (["--pool"] if pool else [])
    froe.once(*options, program=place.program(*["pool"] * pool), env={"PGPASSWORD": "secret"})
    seen = place.only()
    strict = level in ("yes", "best-effort")
    assert seen["connect"] == (DENIED if strict and kernel["seccomp"] else "done")
    files = strict and kernel["landlock"]
    assert seen["write"] == seen["credentials"] == (DENIED if files else "done")
    assert place.outside.exists() == (not files)
    assert seen["home"] == "done"
    assert seen["no_new_privs"] == ("0" if level == "no" else "1")
    if level != "no":
        assert seen["limits"]["CORE"] == 1
        assert seen["filter"] or not kernel["seccomp"]
    assert seen["secrets"] == [] and seen["descriptors"] == 3


def test_what_is_left(fake, froe, prefix, place, kernel):
    needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    froe.once("--confine", "yes", "--allow-network", "--allow-write", place.open, "--allow-write", place.outside.parent,
              program=place.program(), env={"HOME": place.open})
    seen = place.only()
    assert seen["connect"] == seen["write"] == "done"


def test_limits(fake, froe, prefix, place):
    one_object(fake, prefix)
    options = ["--limit-memory", "1GiB", "--limit-cpu", "20s", "--limit-files", 50, "--limit-file-size", "1MiB", "--nice", 5]
    froe.once(*options, program=place.program())
    seen = place.only()
    limits = seen["limits"]
    assert (limits["DATA"], limits["CPU"], limits["NOFILE"], limits["FSIZE"]) == (1 << 30, 20, 50, 1 << 20)
    assert seen["nice"] == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)


@pytest.mark.core
def test_a_rule_has_its_own(fake, froe, prefix, place, kernel, folder):
    needs(kernel, "landlock", "seccomp")
    fake.make_bucket(prefix + "1")
    for key in ("free", "held", "small"):
        fake.raw.put(prefix + "1", key, b"body")
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({
        "confine": "yes", "allow_write": str(place.open), "limit_files": 40, "program": [str(word) for word in place.program()],
        "rules": [{"keys": "free", "confine": "no"}, {"keys": "small", "limit_files": 30, "allow_network": True}, {}]}))
    froe.once("--config", config)
    seen = {report["key"]: report for report in place.reports()}
    assert {key: (report["connect"], report["write"], report["limits"]["NOFILE"]) for key, report in seen.items()} == {
        "free": ("done", "done", 40), "held": (DENIED, DENIED, 40), "small": ("done", DENIED, 30)}
    shown = json.loads(froe.run("config", "show", "--config", config, "--json", plain=True).stdout)["rules"]
    assert [rule["confine"] for rule in shown] == ["no", "yes", "yes"]
    assert shown[1]["limit_files"] == 30 and shown[1]["allow_network"] and shown[1]["allow_write"] == [str(place.open)]


def test_cpu_time_of_a_pool_is_for_each_object(fake, froe, prefix, place):
    fake.make_bucket(prefix + "1")
    for i in range(5):
        fake.raw.put(prefix + "1", f"burn-0.6-{i}", b"body")
    options = ["--pool", "--pool-workers", 1, "--limit-cpu", "2s", "--retries", 0]
    froe.once(*options, program=place.program("pool"))
    assert len(place.reports()) == 5  # 3 s in all
    fake.raw.put(prefix + "1", "burn-60", b"body")
    froe.once(*options, program=place.program("pool"), expect=PARKED)
    [parked] = froe.parked()
    assert "SIGXCPU" in parked["error"] and "limit_cpu" in parked["error"]


def test_cpu_time_of_a_program(fake, froe, prefix, place):
    one_object(fake, prefix, "burn-60")
    froe.once("--limit-cpu", "1s", "--retries", 0, program=place.program(), expect=PARKED)
    [parked] = froe.parked()
    assert "limit_cpu" in parked["error"] and not place.reports()


@pytest.mark.parametrize("options, text", [
    (["--confine", "yes", "--allow-write", "/no/such/directory"], "/no/such/directory"),
    (["--confine", "yes", "--allow-write", "/"], "is hidden"),
    (["--limit-files", 3], "limit_files"),
])
def test_refused_at_the_start(fake, froe, prefix, place, kernel, options, text):
    needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    result = froe.once(*options, program=place.program(), expect=USAGE)
    assert text in result.stderr and len(fake.keys(prefix + "1")) == 1


def test_processes_of_root(fake, froe, prefix, kernel):
    one_object(fake, prefix)
    expect = DRAINED if kernel["processes"] else USAGE
    result = froe.once("--limit-processes", 100000, program=["cat"], expect=expect)
    assert expect == DRAINED or "as root" in result.stderr
    assert froe.run("check", env={"FROE_LIMIT_PROCESSES": 100000}).code == expect


def hold(folder, fake, froe, prefix, rules, **more):
    """Runs the rules, each for the key that is its name, and one more; gives why the objects were parked."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    for key in (*rules, "fine"):
        fake.raw.put(bucket, key, b"body")
    config = folder / "limits.yaml"
    config.write_text(yaml.safe_dump({"program": ["cat"], "retries": 0, "pool_workers": 1, **more,
                                      "rules": [{"keys": key} | rule for key, rule in rules.items()] + [{}]}))
    froe.once("--config", config, expect=PARKED)
    assert sorted(fake.keys(bucket)) == sorted(rules)  # who was in order is done
    return {parked["key"]: parked["error"] for parked in froe.parked()}


def test_what_happens_at_a_limit(fake, froe, prefix, folder, request):
    """It fails there, and says why; each rule has limits of its own."""
    if request.config.getoption("--patience") > 1:
        pytest.skip("a sanitizer's memory does not fit into a limit")
    build = pathlib.Path(request.config.getoption("--build")).resolve()
    python = ["/usr/bin/python3", "-c"]
    files = "import sys; sys.stdin.buffer.read(); held = [open('/dev/null') for _ in range(100)]"
    memory = "import sys; sys.stdin.buffer.readline(); bytearray(1 << 30)"
    errors = hold(folder, fake, froe, prefix, {
        "memory": {"handler": {"program": python + [memory]}, "limit_memory": "300MiB"},
        "memory-pool": {"handler": {"pool": python + [memory]}, "limit_memory": "300MiB"},
        "memory-plugin": {"handler": {"plugin": [str(build / "tests/unit/handler/play.so")]}, "limit_memory": "300MiB"},
        "files": {"handler": {"program": python + [files]}, "limit_files": 30},
        "size": {"handler": {"program": ["sh", "-c", f"exec head -c 2000000 /dev/zero > {folder}/large"]},
                 "limit_file_size": "1MiB"},
    })
    assert "MemoryError" in errors["memory"] and "MemoryError" in errors["memory-pool"]
    assert "no memory for 1 GiB" in errors["memory-plugin"]
    assert "Too many open files" in errors["files"]
    assert "SIGXFSZ" in errors["size"] and "limit_file_size" in errors["size"]
    assert (folder / "large").stat().st_size == 1 << 20


@pytest.fixture
def unprivileged(froe, folder):
    """froe as a user of its own: root may more, and what is counted is counted for each user."""
    if os.getuid() == 0:
        user = random.SystemRandom().randrange(30000, 60000)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user)
        froe.wrapper = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *froe.wrapper]
    if froe.run("--version", plain=True).code != DRAINED:
        pytest.skip("another user than root cannot run what is built here")


def test_a_fork_bomb(fake, froe, prefix, folder, unprivileged):
    errors = hold(folder, fake, froe, prefix, {
        "bomb": {"handler": {"program": ["/usr/bin/python3", str(PROGRAMS / "bomb.py"), str(folder)]}}},
        limit_processes=80)
    assert "no more processes: Resource temporarily unavailable" in errors["bomb"]
    assert processes_of(str(folder)) == []  # they were many


@pytest.mark.parametrize("level", ["no", "basic", "yes"])
def test_froe_itself_is_out_of_sight(fake, froe, prefix, folder, kernel, unprivileged, request, level):
    """Its memory and its environment hold the secrets."""
    if request.config.getoption("--patience") > 1:
        pytest.skip("with a sanitizer froe can be looked into")
    if level == "yes":
        needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    froe.once("--confine", level, "--allow-write", folder,
              program=["/usr/bin/python3", PROGRAMS / "snoop.py", folder / "seen"], env={"HOME": None})
    seen = json.loads((folder / "seen").read_text())
    assert [(one["comm"], one["same_user"]) for one in seen] == [("froe-spawner", True), ("froe", True)]
    assert [one["opened"] for one in seen] == [[], []]


def test_not_even_by_root(fake, froe, prefix, folder, kernel):
    needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    froe.once("--confine", "yes", "--allow-write", folder, env={"HOME": None},
              program=["/usr/bin/python3", PROGRAMS / "snoop.py", folder / "seen"])
    assert [one["opened"] for one in json.loads((folder / "seen").read_text())] == [[], []]


def test_no_core_dumps(fake, froe, prefix, folder):
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    if "/" in pattern or "|" in pattern:
        pytest.skip("core dumps do not land where they can be looked for")

    def crash(name):
        script = 'mkdir "$1"; cd "$1"; (ulimit -c unlimited) 2>&- && ulimit -c unlimited; kill -SEGV $$'
        return {"handler": {"program": ["sh", "-c", script, "sh", str(folder / name)]}}
    errors = hold(folder, fake, froe, prefix, {"held": crash("held"), "free": crash("free") | {"confine": "no"}})
    assert all("SIGSEGV" in error for error in errors.values())
    assert list(folder.glob("held/*")) == []
    if not list(folder.glob("free/*")):
        pytest.skip("this machine makes no core dumps anyway")


@pytest.mark.core
@pytest.mark.parametrize("level", ["basic", "yes"])
def test_a_plugin(fake, froe, prefix, folder, kernel, place, level):
    if level == "yes":
        needs(kernel, "landlock", "seccomp")
    plugin = folder / "confined.so"
    include = pathlib.Path(__file__).parents[2] / "include"
    subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-shared", "-fPIC", "-I", include, "-o", plugin,
                    PROGRAMS / "confined.c"], check=True)
    one_object(fake, prefix)
    froe.once("--plugin", plugin, "--confine", level, "--limit-files", 50, "--retries", 0, program=[place.outside],
              expect=PARKED)
    [parked] = froe.parked()
    may = DENIED if level == "yes" else "done"
    assert f"network: {may}; writing: {may}; credentials: {may}; secrets: 0; core dumps: none; files: 50" in parked["error"]
    assert place.outside.exists() == (level == "basic")


@pytest.mark.core
@pytest.mark.parametrize("body", ["path", "memfd"])
@pytest.mark.parametrize("memory", ["512MiB", "0"])
def test_bodies_in_files_can_be_read(fake, froe, prefix, place, kernel, body, memory):
    """Where the directory for them is in one that is on the way to a secret too."""
    needs(kernel, "landlock", "seccomp")
    one_object(fake, prefix)
    froe.once("--pool", "--pool-body", body, "--memory", memory, "--confine", "yes", "--allow-write", place.open, program=place.program("pool"),
              env={"TMPDIR": froe.home})
    assert place.only()["credentials"] == DENIED


def test_what_the_store_is_opened_with_is_hidden(froe, fake, folder, prefix, kernel):
    needs(kernel, "landlock", "seccomp")
    (folder / "pgpass").write_text("*:*:*:*:secret\n")
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({"store": f"postgres://froe@localhost/froe?passfile={folder}/pgpass", "confine": "yes",
                                      "allow_write": str(folder), "discard": True}))
    found = json.loads(froe.run("check", "--json", "--config", config).stdout)["confine"]
    assert not found["ok"] and f"{folder}/pgpass" in found["what"]


@pytest.mark.core
def test_a_reload_does_not_let_go(fake, froe, prefix, folder):
    def write(level):
        config = folder / "froe.yaml"
        config.write_text(yaml.safe_dump({"program": ["cat"], "confine": level, "cron": "* * * * * *"}))
        return config

    fake.make_bucket(prefix + "1")
    running = froe.start("run", "--config", write("basic"))
    running.until("it is up", froe.is_up)
    write("no")
    running.signal(signal.SIGHUP)
    refused = "the configuration file was not taken; the old one stays in force"
    running.until("it refuses", lambda: running.result().said(refused))
    assert "needs a restart" in running.result().said(refused)[0]["error"]
    write("best-effort")
    running.signal(signal.SIGHUP)
    running.until("it takes more", lambda: running.result().said("the configuration file was read again"))
    fake.raw.put(prefix + "1", "k", b"body")
    running.until("it works on", lambda: fake.keys(prefix + "1") == [])
    assert running.stop().code == DRAINED


@pytest.fixture
def without(folder):
    program = folder / "without"
    subprocess.run(["cc", "-std=c17", "-D_GNU_SOURCE", "-o", program, PROGRAMS / "without.c"], check=True)
    return program


@pytest.mark.parametrize("lacks", ["landlock", "seccomp"])
def test_a_kernel_that_lacks_something(fake, froe, prefix, place, kernel, without, lacks):
    needs(kernel, "seccomp")
    one_object(fake, prefix)
    froe.wrapper = [*froe.wrapper, str(without), lacks]
    found = json.loads(froe.run("check", "--json").stdout)["confine"]
    assert found["ok"] and not found[lacks]
    result = froe.once("--confine", "yes", program=place.program(), expect=USAGE)
    assert "this kernel has no" in result.stderr and "best-effort" in result.stderr
    assert len(fake.keys(prefix + "1")) == 1 and place.reports() == []
    result = froe.run("check", env={"FROE_CONFINE": "yes"})
    assert result.code == USAGE and "FAIL  confinement: confine: this kernel has no" in result.stdout
    froe.once("--confine", "best-effort", "--allow-write", place.open, program=place.program())
    assert place.only()["no_new_privs"] == "1"


def test_image_workers_are_confined_in_any_case(fake, froe, prefix, folder, request, kernel):
    if not pathlib.Path(request.config.getoption("--build"), "src/image/froe-image").exists():
        pytest.skip("froe-image is not built: scripts/deps build installs libvips")
    one_object(fake, prefix)
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({"image": {"width": 4321, "format": "png"}, "output": f"{folder}/{{key}}.{{ext}}",
                                      "confine": "no", "pool_workers": 1}))
    running = froe.start("run", "--config", config)
    [(pid, _)] = running.until("a worker is there", lambda: [found for found in processes_of("froe-image {") if "4321" in found[1]])
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
    assert status["Seccomp"] == ("2" if kernel["seccomp"] else "0")
    assert os.getuid() != 0 or int(status["CapBnd"], 16) == 0
    assert b"AWS_" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    assert os.getpgid(pid) == pid
    # While it is being loaded and begun it opens libraries and settings of theirs.
    running.until("it has four descriptors", lambda: {int(name) for name in os.listdir(f"/proc/{pid}/fd")} == {0, 1, 2, 3})
    assert os.readlink(f"/proc/{pid}/fd/3").startswith("socket:")  # over which bodies come
    assert running.stop().code == DRAINED
    assert json.loads(froe.run("check", "--json", "--config", config).stdout)["confine"]["level"] == "best-effort"
    config.write_text(yaml.safe_dump({"program": ["cat"], "confine": "basic", "rules": [
        {"handler": {"image": {"width": 9}}, "output": f"{folder}/{{key}}.{{ext}}"},
        {"handler": {"image": {"width": 9}}, "output": f"{folder}/{{key}}.{{ext}}", "confine": "no"}, {}]}))
    said = json.loads(froe.run("check", "--json", "--config", config).stdout)["confine"]
    assert (said["level"], said["rules"]) == ("basic", ["best-effort", "best-effort", "basic"])


def test_check_says_what_is_in_force(fake, froe, kernel, folder):
    said = froe.run("check").stdout
    assert "ok    confinement: " in said and "asked for: basic" in said
    assert ("Landlock ABI" in said) == bool(kernel["landlock"])
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({"program": ["cat"], "confine": "best-effort", "rules": [{"confine": "no"}, {}]}))
    assert "asked for: best-effort, by rule 1: no" in froe.run("check", "--config", config).stdout
    assert json.loads(froe.run("check", "--json", "--config", config).stdout)["confine"]["rules"] == ["no", "best-effort"]

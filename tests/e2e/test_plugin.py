"""Plugins: the examples, and what a bad one does to its object and to nothing else."""
import pathlib
import subprocess

import pytest
import yaml
from froe import PARKED, USAGE

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def built(request):
    """A plugin of the build by its name."""
    build = pathlib.Path(request.config.getoption("--build")).resolve()

    def path(name):
        return build / ("examples" if name in ("count", "upper") else "tests/unit/handler") / f"{name}.so"
    return path


def fill(fake, bucket, keys, body=b"a\nb\n"):
    fake.make_bucket(bucket)
    for key in keys:
        fake.raw.put(bucket, key, body)


def counts(path):
    return dict(line.rsplit(" ", 1) for line in path.read_text().splitlines())


def test_example(fake, froe, prefix, folder, built):
    fill(fake, prefix + "1", [f"k/{i}" for i in range(300)])
    froe.once("--plugin", built("count"), program=[folder / "counts"])
    assert fake.keys(prefix + "1") == [] and froe.parked() == []
    assert counts(folder / "counts") == {f"{prefix}1/k%2F{i}": "2" for i in range(300)}


def test_examples_build_as_they_say(folder):
    for name in ("count", "upper"):
        source = ROOT / "examples/plugin" / f"{name}.c"
        assert f"cc -shared -fPIC -o {name}.so {name}.c" in source.read_text()
        subprocess.run(["cc", "-shared", "-fPIC", "-I", ROOT / "include", "-o", folder / f"{name}.so", source], check=True)
        lines = [line for line in source.read_text().splitlines() if line.strip()]
        assert len(lines) <= 40, name
    assert (ROOT / "examples/plugin/count.c").read_text() in (ROOT / "docs/plugin.md").read_text()


def test_by_a_file(fake, froe, prefix, folder, built):
    for n in ("a", "b", "c"):
        fill(fake, prefix + n, ["k"])
    config = folder / "froe.yaml"
    config.write_text(yaml.safe_dump({
        "plugin": [str(built("count")), str(folder / "general")],
        "rules": [{"buckets": prefix + "a", "handler": {"plugin": [str(built("count")), str(folder / "own")]}},
                  {"buckets": prefix + "b"}]}))
    froe.once("--config", config)
    assert list(counts(folder / "own")) == [f"{prefix}a/k"] and list(counts(folder / "general")) == [f"{prefix}b/k"]
    assert fake.keys(prefix + "c") == ["k"]


@pytest.mark.core
def test_bad_ends(fake, froe, prefix, built):
    """One object costs its process, and the others are done."""
    bad = {"crash": "SIGABRT", "exit": "without an answer", "hang": "", "fail": "broken", "number": "", "retry": "not yet"}
    fill(fake, prefix + "1", [*bad, *(f"fine/{i}" for i in range(50))])
    froe.once("--plugin", built("play"), "--retries", 0, "--timeout", "5s", "--pool-workers", 2, expect=PARKED)
    errors = {parked["key"]: parked["error"] for parked in froe.parked()}
    assert errors.keys() == bad.keys()
    for key, text in bad.items():
        assert text in errors[key], key
    assert sorted(fake.keys(prefix + "1")) == sorted(bad)


@pytest.mark.core
def test_results(fake, froe, prefix, folder, built):
    """Its process can write nothing; froe does."""
    fill(fake, prefix + "1", ["a/1.log", "b"], b"hello\n")
    (folder / "out").mkdir()
    froe.once("--plugin", built("upper"), "--confine", "best-effort", "--output", f"{folder}/out/{{stem}}.{{ext}}")
    assert {path.name: path.read_text() for path in (folder / "out").rglob("*.txt")} == {"1.txt": "HELLO\n", "b.txt": "HELLO\n"}
    assert (folder / "out/a/1.txt").exists() and fake.keys(prefix + "1") == []


@pytest.mark.parametrize("name, args, text", [
    ("nothing", [], "No such file"),
    ("play_no_table", [], "no symbol froe_plugin_table"),
    ("play_version", [], "version 99"),
    ("play", ["refuse", "model.bin"], "no model model.bin"),
    ("play", ["crash"], "SIGABRT"),
    ("count", [], "one file"),
])
def test_refused_at_the_start(fake, froe, prefix, built, name, args, text):
    fill(fake, prefix + "1", ["k"])
    result = froe.once("--plugin", built(name), program=args, expect=USAGE)
    assert text in result.stderr
    assert fake.keys(prefix + "1") == ["k"]


def test_a_large_body_is_streamed(fake, froe, prefix, built):
    fill(fake, prefix + "1", ["body"], b"x" * 20_000_000)
    froe.once("--plugin", built("play_streams"), "--retries", 0, expect=PARKED)
    assert "20000000 bytes" in froe.parked()[0]["error"]


def test_confined(fake, froe, prefix, folder, built):
    """What it may not do it may not do at the start either."""
    fill(fake, prefix + "1", ["k"])
    options = ["--plugin", built("count"), "--confine", "best-effort"]
    (folder / "open").mkdir()
    result = froe.run("run", "--once", *options, program=[folder / "counts"])
    if result.code == USAGE:
        assert "one file that it can append to" in result.stderr
    froe.once(*options, "--allow-write", folder / "open", program=[folder / "open/counts"])
    assert fake.keys(prefix + "1") == []

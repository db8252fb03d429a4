"""docs/tutorial.md: its code is that of the examples, and its shell lines do what it says they do."""
import os
import pathlib
import re
import subprocess

import pytest
import rgw

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


def test_code_is_that_of_the_examples():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.c")]
    code = [text for kind, text in BLOCKS if kind == "c"]
    assert len(code) >= 5
    for text in code:
        assert any(f"\n{text}" in source for source in sources), f"in no example:\n{text}"


def alike(line):
    """A line without what is another each time."""
    line = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( \+00:00)?|\b\d\d:\d\d:\d\d(\.\d+)?", "TIME", line)
    line = re.sub(r"\b\d+:\d+\b", "RUN", line)
    line = re.sub(r"\b[\w.-]+:\d+$|\b[\w.-]+:\d+(?=  )", "WORKER", line)
    line = re.sub(r"\b[\d.]+ ?(us|ms|s|m)\b", "DURATION", line)
    return " ".join(line.split())


def check_output(expected, got):
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line if "+01:00" in line or "+02:00" in line else alike(line)) + "\n"
                      for line in expected.splitlines())
    lines = "".join((line if "+01:00" in line or "+02:00" in line else alike(line)) + "\n" for line in got.splitlines())
    assert re.fullmatch(pattern, lines), f"-- the tutorial says\n{expected}\n-- and it was\n{got}"


class Reader:
    """Somebody who types what the tutorial says, in a home of their own."""

    def __init__(self, request, folder):
        self.bin, self.root, self.home = folder / "bin", folder / "root", folder / "home"
        for path in (self.bin, self.root, self.home):
            path.mkdir()
        (self.bin / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (self.bin / "sudo").chmod(0o755)
        local = self.root / "usr/local"
        multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
        lib = local / "lib" / multiarch
        self.pc = lib / "pkgconfig/froe.pc"
        # What is installed lies under a root of its own; the rest of the machine is as it is.
        self.env = os.environ | {
            "HOME": str(self.home), "PATH": f"{self.bin}:{local}/bin:{os.environ['PATH']}", "TZ": "UTC", "DEPS": ":",
            "BUILD": os.path.abspath(request.config.getoption("--build")), "DESTDIR": str(self.root), "MAKEFLAGS": "",
            "LD_LIBRARY_PATH": str(lib), "PKG_CONFIG_PATH": str(self.pc.parent)}
        self.port = str(rgw.free_port())
        self.cwd = ROOT

    def type(self, text):
        script = f"set -e\ncd '{self.cwd}'\n{text}\npwd > '{self.home}/.pwd'\n"
        done = subprocess.run(["bash", "-c", script.replace("8000", self.port)], env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=100)
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        self.cwd = (self.home / ".pwd").read_text().strip()
        if "make install" in text:
            self.pc.write_text(re.sub("^prefix=.*$", f"prefix={self.root}/usr/local", self.pc.read_text(), flags=re.MULTILINE))
        return done.stdout.replace(self.port, "8000")


@pytest.fixture
def reader(request, folder):
    return Reader(request, folder)


# In one worker with the tests of the installed library: both install from the same build folder.
@pytest.mark.xdist_group("installed")
@pytest.mark.timeout(180)
def test_what_it_says_is_what_happens(reader, request):
    import postgres as postgresql
    lacking = postgresql.missing()
    if not lacking:
        server = request.getfixturevalue("postgres")
        server.sql("CREATE DATABASE tutorial OWNER froe", database="postgres")
        reader.env |= {"PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "froe"}
    ran = 0
    for at, (kind, text) in enumerate(BLOCKS):
        if kind != "sh" or "postgres:" in text and lacking:
            continue
        got = reader.type(text)
        ran += 1
        after = BLOCKS[at + 1] if at + 1 < len(BLOCKS) else ("", "")
        if after[0] == "text":
            check_output(after[1], got)
    assert ran >= 8
    if lacking:
        pytest.skip(f"all but PostgreSQL's part: there is no {lacking}")

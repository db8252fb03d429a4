"""libfroe as a user meets it: installed somewhere, found by pkg-config, linked to programs in C99 and C++11."""
import os
import pathlib
import re
import subprocess

import pytest

# In one worker with the test of the tutorial: both install from the same build folder.
pytestmark = pytest.mark.xdist_group("installed")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADER = ROOT / "include/froe.h"
CC = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Installed:
    """A prefix of its own. Meson has written the configured one into froe.pc; it is put right for where the files are."""

    def __init__(self, build, folder):
        run("meson", "install", "--no-rebuild", "-C", build, "--destdir", folder)
        self.files = sorted(path for path in folder.rglob("*") if not path.is_dir())
        self.pc = next(path for path in self.files if path.name == "froe.pc")
        text = self.pc.read_text()
        prefix = pathlib.Path(re.search("^prefix=(.*)$", text, re.MULTILINE)[1])
        self.prefix = folder / prefix.relative_to("/")
        self.pc.write_text(text.replace(f"prefix={prefix}", f"prefix={self.prefix}"))
        self.lib = self.pc.parent.parent
        self.shared, self.static = self.lib / "libfroe.so", self.lib / "libfroe.a"
        # Beside no shared one the linker takes the static one.
        self.static_only = folder / "static-only"
        (self.static_only / "pkgconfig").mkdir(parents=True)
        os.link(self.static, self.static_only / "libfroe.a")
        (self.static_only / "pkgconfig/froe.pc").write_text(
            re.sub("^libdir=.*$", f"libdir={self.static_only}", self.pc.read_text(), flags=re.MULTILINE))

    def flags(self, *options, static=False):
        env = os.environ | {"PKG_CONFIG_PATH": str((self.static_only if static else self.lib) / "pkgconfig")}
        return run("pkg-config", *options, *(["--static"] if static else []), "froe", env=env).split()

    def compile(self, compiler, source, program, *options, static=False):
        run(compiler, *options, source, *self.flags("--cflags", "--libs", static=static), "-o", program)

    def run(self, program, *arguments, cwd):
        return run(program, *arguments, cwd=cwd, env=os.environ | {"LD_LIBRARY_PATH": str(self.lib)}, timeout=60)


@pytest.fixture(scope="session")
def installed(request, tmp_path_factory):
    return Installed(request.config.getoption("--build"), tmp_path_factory.mktemp("installed"))


def declared():
    """The functions that froe.h declares, read without its comments, its types and what is inside braces."""
    flat, depth = "", 0
    for char in run("cc", "-E", "-P", "-x", "c", HEADER):
        depth -= char == "}"
        flat += char if depth == 0 else ""
        depth += char == "{"
    found = [re.search(r"\b(froe_\w+)\s*\(", statement) for statement in flat.split(";") if "typedef" not in statement]
    return {match[1] for match in found if match}


def shown(*command):
    lines = [line.split() for line in run(*command).splitlines()]
    return {words[2].partition("@")[0] for words in lines if len(words) == 3 and words[1] != "A"}


def test_what_is_installed(installed, request):
    names = [str(path.relative_to(installed.prefix)) for path in installed.files]
    folder = installed.lib.relative_to(installed.prefix)
    images = pathlib.Path(request.config.getoption("--build"), "src/image/froe-image").exists()
    assert set(names) == {
        "bin/froe", "bin/froe-s3mock", "include/froe.h", "include/froe_plugin.h", "libexec/froe/froe-plugin",
        f"{folder}/libfroe.a", f"{folder}/libfroe.so", f"{folder}/libfroe.so.0", f"{folder}/libfroe.so.0.1.0",
        f"{folder}/pkgconfig/froe.pc", *(["libexec/froe/froe-image"] if images else [])}
    assert (installed.prefix / "include/froe.h").read_bytes() == HEADER.read_bytes()
    assert os.readlink(installed.shared) == "libfroe.so.0"


def test_images_can_be_a_package_of_their_own(request, tmp_path):
    """By tags: froe-image, with libvips behind it, in one; all else in another."""
    build = request.config.getoption("--build")
    if not pathlib.Path(build, "src/image/froe-image").exists():
        pytest.skip("froe-image is not built: scripts/deps build installs libvips")

    def installs(*tags):
        said = run("meson", "install", "--no-rebuild", "--dry-run", "-C", build, "--destdir", tmp_path, *tags)
        return set(re.findall("^Installing (?:symlink pointing to )?(\\S+) to", said, re.MULTILINE))

    image, rest = installs("--tags", "image"), installs("--tags", "runtime,devel")
    assert [pathlib.Path(name).name for name in image] == ["froe-image"]
    assert rest == installs() - image and len(rest) > 5


def test_shows_just_what_the_header_declares(installed):
    functions = declared()
    assert {"froe_open", "froe_run_id_parse", "froe_version"} <= functions and len(functions) > 50
    assert shown("nm", "-D", "--defined-only", installed.shared) == functions
    assert shown("nm", "--extern-only", "--defined-only", installed.static) == functions


def test_hardened_and_named(installed):
    dynamic = run("readelf", "-W", "-d", installed.shared)
    assert "Library soname: [libfroe.so.0]" in dynamic
    assert "BIND_NOW" in dynamic or "NOW" in dynamic
    assert "TEXTREL" not in dynamic and "RPATH" not in dynamic and "RUNPATH" not in dynamic
    program_headers = run("readelf", "-W", "-l", installed.shared)
    assert "GNU_RELRO" in program_headers
    assert re.search(r"GNU_STACK .* RW ", program_headers)


def test_pkg_config(installed):
    assert installed.flags("--libs") == [f"-L{installed.lib}", "-lfroe"]
    assert installed.flags("--modversion") == ["0.1.0"]
    assert {"-lfroe", "-luv", "-ljansson", "-lsqlite3"} <= set(installed.flags("--libs", static=True))


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("language", ["c99", "c++11"])
@pytest.mark.parametrize("compiler", CC)
def test_hello(installed, folder, compiler, language, static):
    cc, source = (CC[compiler][0], "hello.c") if language == "c99" else (CC[compiler][1], "hello.cc")
    installed.compile(cc, ROOT / "examples" / source, folder / "hello", f"-std={language}", "-pedantic", "-Wall",
                      "-Wextra", "-Wno-unused-parameter", "-Werror", static=static)
    needed = run("readelf", "-d", folder / "hello")
    assert ("libfroe.so.0" in needed) is not static
    assert '{"hello": {"name": "Ada"}}\n' in installed.run(folder / "hello", '{"name": "Ada"}', cwd=folder)


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_a_programs_own_names_do_not_clash(installed, folder, request, static):
    """A program that has a function for each name that froe's layers use among each other; each ends it when called."""
    build = pathlib.Path(request.config.getoption("--build"))
    archives = [build / f"src/{layer}/lib{layer}.a" for layer in ("base", "cron", "cel", "store", "engine")]
    inside = {name for name in shown("nm", "--extern-only", "--defined-only", *archives)
              if not name.startswith(("froe_", "_Z", "DW."))}
    assert {"map_get", "err_set", "store_open"} <= inside and len(inside) > 100
    (folder / "own.c").write_text("#include <stdlib.h>\n" + "".join(
        f"void {name}(void);\nvoid {name}(void) {{ abort(); }}\n" for name in sorted(inside)))
    run("cc", "-c", folder / "own.c", "-o", folder / "own.o")
    # -rdynamic: they are there for a shared library to find, if it would look for them.
    installed.compile("cc", ROOT / "examples/hello.c", folder / "hello", folder / "own.o", "-rdynamic", static=static)
    assert '{"hello": {"name": "World"}}\n' in installed.run(folder / "hello", cwd=folder)

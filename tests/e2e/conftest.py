"""What every end-to-end test is given: servers that are shared by the session, and a froe, a folder and a bucket prefix of its
own.

With -n there are several workers, and each has servers of its own, but for those of commons.py. Then the tests that take longest
come first, so that none is waited for alone in the end; otherwise the quick ones do, as somebody looks on.
"""
import os
import pathlib
import secrets
import shutil
import signal
import tempfile
import time

import commons
import pytest
import servers
from authority import authority  # noqa: F401 - a fixture
from fleet import fleet, postgres, witness  # noqa: F401 - fixtures
from froe import Froe, kill, processes_of
from images import froe_image, gallery  # noqa: F401 - fixtures
from places import bucket, configured, out, results  # noqa: F401 - fixtures

OWN = {"fake": servers.FakeServer, "moto": servers.MotoServer}
SHARED = {"rgw": servers.RgwServer}
KINDS = OWN | SHARED


def pytest_addoption(parser):
    parser.addoption("--build", default="build", help="the build folder whose froe and froe-s3mock are tested")
    parser.addoption("--servers", default="fake,moto,rgw", help="which servers to test against")
    parser.addoption("--wrapper", default="", help="words put before each froe and froe-s3mock")
    parser.addoption("--patience", type=float, default=1.0, help="all time limits are multiplied by it (sanitizers are slow)")


def pytest_configure(config):
    for line in ("needs(*names): skipped on servers that lack one of them, see servers.py",
                 "slow: takes long; comes last",
                 "fleet: several froe processes on one PostgreSQL",
                 "core: is run with the sanitizers too"):
        config.addinivalue_line("markers", line)
    # As a shell has it for what runs in its background, and nohup: froe would not hear it either.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not hasattr(config, "workerinput"):
        config.commons = commons.Commons({name: kind.start for name, kind in SHARED.items()})
        config.commons_folder = str(config.commons.folder)
    else:
        config.commons_folder = config.workerinput["commons_folder"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["commons_folder"] = node.config.commons_folder


def pytest_unconfigure(config):
    if hasattr(config, "commons"):
        config.commons.stop()


def chosen(config):
    return config.getoption("--servers").split(",")


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", chosen(metafunc.config), indirect=True)


def pytest_collection_modifyitems(config, items):
    patience = config.getoption("--patience")
    for item in items:
        mark = item.get_closest_marker("timeout")
        seconds = mark.args[0] if mark else 120
        item.add_marker(pytest.mark.timeout(seconds * patience), append=False)
    if "fake" not in chosen(config):
        left_out = [item for item in items if "server" not in item.fixturenames]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]

    parallel = hasattr(config, "workerinput")

    def order(item):
        name = item.callspec.params.get("server", "fake") if hasattr(item, "callspec") else "fake"
        slow = item.get_closest_marker("slow") is not None
        if parallel and name == "moto":
            # One worker has all of these: moto takes long to start, and does not like many clients at once.
            item.add_marker(pytest.mark.xdist_group("moto"))
        return slow != parallel, (name != "moto") if parallel else list(KINDS).index(name)
    items.sort(key=order)


class Park:
    """This process's servers, each started or reached when first wanted."""

    def __init__(self, config):
        self.folder = tempfile.mkdtemp(prefix="froe-e2e-")
        self.build = config.getoption("--build")
        self.wrapper = config.getoption("--wrapper").split()
        self.commons_folder = config.commons_folder
        self.servers = {}

    def get(self, name):
        if name not in self.servers and name in SHARED:
            self.servers[name] = SHARED[name](commons.reach(self.commons_folder, name))
        elif name not in self.servers:
            folder = os.path.join(self.folder, name)
            os.mkdir(folder)
            self.servers[name] = OWN[name](folder, self.build, self.wrapper)
        return self.servers[name]

    def stop(self):
        for server in self.servers.values():
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def park(request):
    park = Park(request.config)
    for name in SHARED:  # their slow start is begun right away
        if any(f"[{name}" in item.nodeid for item in request.session.items):
            commons.want(park.commons_folder, name)
    yield park
    park.stop()


def the_server(name, park, request):
    kind = KINDS[name]
    needed = {need for mark in request.node.iter_markers("needs") for need in mark.args}
    lacking = sorted(needed - kind.can)
    if lacking:
        pytest.skip(f"{name} lacks {', '.join(lacking)}")
    return park.get(name)


@pytest.fixture
def server(request, park):
    """Each of the servers in turn."""
    yield the_server(request.param, park, request)


@pytest.fixture
def fake(request, park):
    """The fake alone, for what only it can be told to do. Its orders to misbehave end with the test."""
    server = the_server("fake", park, request)
    yield server
    server.behave()


@pytest.fixture
def prefix():
    """Begins the name of each bucket of this test, and of no other."""
    return f"e2e-{secrets.token_hex(4)}-"


@pytest.fixture
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="froe-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def patience(request):
    return request.config.getoption("--patience")


@pytest.fixture
def froe(request, folder, prefix, patience):
    """A froe for the test's server; nothing that it started is left at the end."""
    server = None
    for name in ("server", "fake"):
        if name in request.fixturenames:
            server = request.getfixturevalue(name)
    froe = Froe(request.config.getoption("--build"), server, folder, prefix,
                request.config.getoption("--wrapper").split(), patience)
    yield froe
    froe.kill_all()
    # Its programs end with it, at once; they have the folder in their command line.
    left = []
    for _ in range(100):
        left = processes_of(str(folder))
        if not left:
            break

        time.sleep(0.05)
    for pid, _ in left:
        kill(pid)
    assert not left, f"still running after froe ended: {left}"


@pytest.fixture
def capture(folder):
    """The program that writes down all that it sees, and what it has seen so far."""
    from capture import Capture
    path = folder / "captured"
    path.mkdir()
    return Capture(path)

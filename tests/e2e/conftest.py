"""What every end-to-end test is given: servers that are shared by the session, and a froe, a folder and a bucket prefix of its
own. Ordered so that quick tests come first.
"""
import concurrent.futures
import os
import pathlib
import secrets
import shutil
import tempfile
import time

import pytest
import servers
from fleet import fleet, postgres, witness  # noqa: F401 - fixtures
from froe import Froe, processes_of

KINDS = {"fake": servers.FakeServer, "moto": servers.MotoServer, "rgw": servers.RgwServer}


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

    def order(item):
        name = item.callspec.params.get("server", "fake") if hasattr(item, "callspec") else "fake"
        return item.get_closest_marker("slow") is not None, list(KINDS).index(name)
    items.sort(key=order)


class Park:
    """Servers, each started when first wanted; Ceph's slow start is begun in the background right away."""

    def __init__(self, config):
        self.folder = tempfile.mkdtemp(prefix="froe-e2e-")
        self.build = config.getoption("--build")
        self.wrapper = config.getoption("--wrapper").split()
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        self.started = {}

    def begin(self, name):
        if name not in self.started:
            folder = os.path.join(self.folder, name)
            os.mkdir(folder)
            self.started[name] = self.pool.submit(KINDS[name], folder, self.build, self.wrapper)
        return self.started[name]

    def stop(self):
        for future in self.started.values():
            if not future.exception():
                future.result().stop()
        self.pool.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def park(request):
    park = Park(request.config)
    if any("[rgw" in item.nodeid for item in request.session.items):
        park.begin("rgw")
    yield park
    park.stop()


def the_server(name, park, request):
    kind = KINDS[name]
    needed = {need for mark in request.node.iter_markers("needs") for need in mark.args}
    lacking = sorted(needed - kind.can)
    if lacking:
        pytest.skip(f"{name} lacks {', '.join(lacking)}")
    return park.begin(name).result(timeout=120)


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
        os.kill(pid, 9)
    assert not left, f"still running after froe ended: {left}"


@pytest.fixture
def capture(folder):
    """The program that writes down all that it sees, and what it has seen so far."""
    from capture import Capture
    path = folder / "captured"
    path.mkdir()
    return Capture(path)

"""Where objects come from and results go: fixtures that conftest.py hands to all tests."""
import pytest
import yaml
from froe import DRAINED


@pytest.fixture
def results(prefix):
    """A bucket that is not drained."""
    return "results-" + prefix.rstrip("-")


@pytest.fixture
def configured(froe, prefix, folder):
    """Until drained, by a configuration file."""
    def configured(config, expect=DRAINED, **more):
        path = folder / "froe.yaml"
        path.write_text(yaml.safe_dump({"bucket_prefix": prefix, "store": f"sqlite:{froe.store}"} | config, sort_keys=False))
        result = froe.run("run", "--once", "--log", "json", "--config", path, plain=True, **more)
        assert result.code == expect, result
        return result
    return configured


@pytest.fixture
def bucket(request, prefix):
    server = request.getfixturevalue("server" if "server" in request.fixturenames else "fake")
    server.make_bucket(prefix + "1")
    return prefix + "1"


def files(root):
    """What is below it: {path: content}."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def out(folder):
    path = folder / "out"
    path.mkdir()
    return path

"""Configuration files for tests: writing them, draining by them, and programs that tell what they were given."""
import pytest
import yaml
from froe import DRAINED


@pytest.fixture
def write(folder):
    def write(config, name="froe.yaml"):
        path = folder / name
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return path
    return write


@pytest.fixture
def once(froe):
    """Until drained, with that file and no options beside it that it could give."""
    def once(config, *args, expect=DRAINED, **more):
        result = froe.run("run", "--once", "--log", "json", "--config", config, *args, plain=True, **more)
        assert result.code == expect, result
        return result
    return once


def to(path):
    """A program that notes the keys it is given there."""
    return {"program": ["sh", "-c", f"cat >/dev/null; echo \"$FROE_KEY\" >>{path}"]}


def noted(path):
    return sorted(path.read_text().split()) if path.exists() else []


def base(froe, prefix, **more):
    return {"bucket_prefix": prefix, "store": f"sqlite:{froe.store}", **more}

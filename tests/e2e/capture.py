"""Reads what programs/capture.py wrote."""
import base64
import json

from froe import PROGRAMS


class Capture:
    def __init__(self, path):
        self.path = path

    def program(self, *more):
        return ["/usr/bin/python3", "-S", PROGRAMS / "capture.py", self.path, *more]

    def seen(self):
        """One dict a run, oldest first; env's values are bytes."""
        found = []
        for path in sorted(self.path.glob("*.json")):
            one = json.loads(path.read_text())
            one["env"] = {name: base64.b64decode(value) for name, value in one["env"].items()}
            one["bucket"], one["key"] = one["env"]["FROE_BUCKET"].decode(), one["env"]["FROE_KEY"]
            found.append(one)
        return found

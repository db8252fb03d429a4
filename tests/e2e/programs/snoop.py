"""Looks for froe's secrets in the processes of its own user, and writes down what it could open: snoop.py REPORT"""
import json
import os
import sys


def opened(path):
    try:
        with open(path, "rb") as file:
            return len(file.read(1)) if path.endswith("environ") else True
    except OSError:
        return False


def followed(path):
    """That a link is there may be seen, by root."""
    try:
        return bool([os.readlink(f"{path}/{name}") for name in os.listdir(path)])
    except OSError:
        return False


def comm(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().split("(", 1)[1].rsplit(")", 1)[0]
    except OSError:
        return ""


def uid(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Uid:"))


def parent(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("PPid:"))


sys.stdin.buffer.read()
seen = []
spawner = parent(os.getpid())
for pid in (spawner, parent(spawner)):
    found = [what for what in ("environ", "mem", "maps", "auxv") if opened(f"/proc/{pid}/{what}")]
    found += [what for what in ("fd", "map_files") if followed(f"/proc/{pid}/{what}")]
    seen.append({"comm": comm(pid), "same_user": uid(pid) == os.getuid(), "opened": found})
with open(sys.argv[1], "w", encoding="utf-8") as out:
    json.dump(seen, out)

#!/usr/bin/python3
"""Writes down all that a program can see: a JSON file per run in the folder given, with its environment and input.

capture.py FOLDER [wait FILE]    (with `wait` it ends only once that file is there)
"""
import base64
import hashlib
import json
import os
import sys
import time

body = sys.stdin.buffer.read()
seen = {
    "env": {name.decode("latin-1"): base64.b64encode(value).decode() for name, value in os.environb.items()},
    "size": len(body),
    "sha256": hashlib.sha256(body).hexdigest(),
    "cwd": os.getcwd(),
    "group_of_its_own": os.getpgid(0) == os.getpid(),
    "fds": sorted(int(name) for name in os.listdir("/proc/self/fd")),
}
folder = sys.argv[1]
name = os.path.join(folder, f"{time.time_ns()}-{os.getpid()}")
with open(name + ".part", "w", encoding="utf-8") as out:
    json.dump(seen, out)
os.rename(name + ".part", name + ".json")
if sys.argv[2:3] == ["wait"]:
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.02)

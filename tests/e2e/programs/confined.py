"""Tries what a confined program may not, and writes down what came of it: confined.py REPORT PORT OUTSIDE [pool]

Once for each object; with `pool` as a worker of one. REPORT is a file in a directory that it may write in.
"""
import json
import os
import resource
import socket
import sys
import time

report, port, outside = sys.argv[1:4]


def tried(function):
    try:
        function()
        return "done"
    except OSError as error:
        return error.strerror


def connect():
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10):
        pass


def limit(name):
    return resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0]


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def look(key):
    if key.startswith("burn"):
        burn(float(key.split("-")[1]))
    status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status", encoding="utf-8") if ":\t" in line)
    descriptors = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return {
        "connect": tried(connect),
        "write": tried(lambda: open(outside, "wb").close()),
        "credentials": tried(lambda: open(os.path.expanduser("~/.aws/credentials"), "rb").close()),
        "home": tried(lambda: open(os.path.expanduser("~/notes"), "rb").close()),
        "secrets": sorted(name for name in os.environ if name.startswith(("AWS_", "PG", "FROE_STORE"))),
        "descriptors": len(descriptors),
        "no_new_privs": status["NoNewPrivs"],
        "filter": status["Seccomp"] == "2",
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": {name: limit(name) for name in ("DATA", "CPU", "NOFILE", "NPROC", "FSIZE", "CORE")},
    }


def note(key):
    seen = {"key": key} | look(key)
    with open(report, "a", encoding="utf-8") as out:
        out.write(json.dumps(seen) + "\n")


if sys.argv[4:] == ["pool"]:
    bodies = None
    for line in sys.stdin.buffer:
        job = json.loads(line)
        if "path" in job:
            with open(job["path"], "rb") as body:
                body.read()
        if "socket" in job:
            bodies = bodies or socket.socket(fileno=job["socket"])
            _, [fd], _, _ = socket.recv_fds(bodies, 1, 1)
            with open(fd, "rb") as body:
                assert len(body.read()) == job["size"]
        else:
            sys.stdin.buffer.read(job["body_bytes"])
        note(job["key"])
        print(json.dumps({"id": job["id"], "status": "ok"}), flush=True)
else:
    sys.stdin.buffer.read()
    note(os.environ["FROE_KEY"])

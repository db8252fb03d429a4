#!/usr/bin/python3
"""A worker of a pool that writes down what it did, and misbehaves: pool_worker.py LOG [BEHAVIOUR...]

    crash-every N    dies with each Nth object of its own, before it answers
    bad KEY HOW      with that key: crash, garbage, hang, chatter, huge, exit, close, wrong-id, status, unread, unreceived, after, short, more,
                     or an answer that is not ok: retry, fail, final
    slow SECONDS     reads a little of each body, and then nothing for that long
    results          gives each body back
    sleep SECONDS    with each object
    exit-after N     ends by itself after so many
"""
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import time

log, words = sys.argv[1], sys.argv[2:]
options, bad = {}, {}
while words:
    word = words.pop(0)
    if word == "bad":
        key, how = words.pop(0), words.pop(0)
        bad[key] = how
    else:
        options[word] = word == "results" or float(words.pop(0))
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer


def write(text):
    stdout.write(text.encode())
    stdout.flush()


def note(*what):
    with open(log, "a", encoding="utf-8") as out:
        out.write(" ".join(map(str, what)) + "\n")


note("start", os.getpid())
note("env", *(name for name in os.environ))
n, channel = 0, None
for line in stdin:
    job = json.loads(line)
    how = bad.get(job["key"])
    if how in ("unread", "unreceived"):
        write(json.dumps({"id": job["id"], "status": "ok"}) + "\n")
        signal.pause()
    body = stdin.read(job["body_bytes"] if "slow" not in options else min(job["body_bytes"], 1000))
    if "slow" in options:
        time.sleep(options["slow"])
        body += stdin.read(job["body_bytes"] - len(body))
    if len(body) != job["body_bytes"]:
        note("short", job["key_url"], len(body))
        sys.exit(1)
    if "path" in job:
        with open(job["path"], "rb") as file:
            body = file.read()
    if "socket" in job:
        channel = channel or socket.socket(fileno=job["socket"])
        _, [fd], _, _ = socket.recv_fds(channel, 1, 1)
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
        except OSError:  # of a file there are none
            sealed = False
        note("descriptor", "memory" if sealed else "file", os.get_inheritable(3), len(os.listdir("/proc/self/fd")))
        with open(fd, "rb") as file:
            body = file.read()
    note("body", job["bucket"], job["key_url"], len(body), hashlib.md5(body).hexdigest(), job["etag"], os.getpid())
    n += 1
    if how == "crash" or ("crash-every" in options and n % options["crash-every"] == 0):
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "garbage":
        write("hello\n")
    elif how == "hang":
        signal.pause()
    elif how == "chatter":
        write("loading\n")
    elif how == "huge":
        write("x" * 100000)
    elif how == "exit":
        sys.exit(7)
    elif how == "wrong-id":
        write('{"id":0,"status":"ok"}\n')
    elif how == "status":
        write(json.dumps({"id": job["id"], "status": "done"}) + "\n")
    elif how == "close":
        os.close(1)
        signal.pause()
    elif how in ("retry", "fail", "final"):
        answer = {"id": job["id"], "status": "fail" if how == "final" else how, "reason": "it is " + how}
        write(json.dumps(answer | ({"final": True} if how == "final" else {})) + "\n")
        continue
    time.sleep(options.get("sleep", 0))
    answer = {"id": job["id"], "status": "ok"}
    if "results" in options:
        answer["result_bytes"] = len(body)
    if how == "after":  # what it says then costs it its place, so it writes this down before
        note("done", job["bucket"], job["key_url"])
        write(json.dumps(answer) + "\nbye\n")
        continue
    write(json.dumps(answer) + "\n")
    if "results" in options:
        stdout.write(body[:-1] if how == "short" else body + b"x" if how == "more" else body)
        stdout.flush()
        if how == "short":
            sys.exit(0)
    note("done", job["bucket"], job["key_url"])
    if n == options.get("exit-after"):
        break

#!/usr/bin/python3
"""A worker that gets descriptors: froe run --pool --pool-body memfd ... -- ./memfd_worker.py"""
import json
import socket
import sys

bodies = socket.socket(fileno=3)
stdout = sys.stdout
sys.stdout = sys.stderr  # so that print() cannot get in the way


def process(job, body):
    print(job["bucket"], job["key"], len(body.read()), file=sys.stderr)  # your code; raises when it failed


for line in sys.stdin.buffer:
    job = json.loads(line)
    _, [fd], _, _ = socket.recv_fds(bodies, 1, 1)
    answer = {"id": job["id"], "status": "ok"}
    try:
        with open(fd, "rb") as body:  # closes it; or, where job["size"] is not 0: mmap.mmap(fd, 0, prot=mmap.PROT_READ)
            process(job, body)
    except Exception as error:
        answer |= {"status": "fail", "reason": repr(error)}
    stdout.write(json.dumps(answer) + "\n")
    stdout.flush()

#!/usr/bin/python3
"""A worker: froe run --pool ... -- ./worker.py"""
import json
import sys

stdin, stdout = sys.stdin.buffer, sys.stdout
sys.stdout = sys.stderr  # so that print() cannot get in the way


def process(job, body):
    print(job["bucket"], job["key"], len(body), file=sys.stderr)  # your code; raises when it failed


for line in stdin:
    job = json.loads(line)
    body = stdin.read(job["body_bytes"])
    answer = {"id": job["id"], "status": "ok"}
    try:
        process(job, body)
    except Exception as error:
        answer |= {"status": "fail", "reason": repr(error)}
    stdout.write(json.dumps(answer) + "\n")
    stdout.flush()

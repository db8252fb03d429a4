#!/usr/bin/python3
"""A worker that gives something back: froe run --config ..., with handler: {pool: [./gzip_worker.py]} and an output"""
import gzip
import json
import sys

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
sys.stdout = sys.stderr  # so that print() cannot get in the way

for line in stdin:
    job = json.loads(line)
    body = stdin.read(job["body_bytes"])
    answer, result = {"id": job["id"], "status": "ok"}, b""
    try:
        result = gzip.compress(body)  # your code; raises when it failed
        answer |= {"result_bytes": len(result), "content_type": "application/gzip", "extension": "gz"}
    except Exception as error:
        answer |= {"status": "fail", "reason": repr(error)}
    stdout.write(json.dumps(answer).encode() + b"\n" + result)
    stdout.flush()

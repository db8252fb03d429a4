#!/usr/bin/python3
"""Looks at how much memory whole bodies and results take: large objects through 40 slots, from froe-s3mock on loopback.

    memory_bench.py --build DIR [--objects N] [--results N] [--size BYTES] [--medium BYTES]

Prints a table and writes DIR/bench/memory.json; what the figures mean is told in docs/benchmarks.md. Exit status: 0 when all
runs did their work (also when a target was missed: the table says so), 1 when one failed.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

from common import Failed, Mock, client_environment, descendants, machine, print_machine, print_rows, report_of, run_client

PREFIX = "bench-"
BUCKETS = 4
SLOTS = 40
BUDGET_MIB = 512  # froe's default --memory
MIB = 1 << 20
SAMPLE_S = 0.1
ROWS = {
    "streamed": "streamed: cat",
    "memfd": "whole: --pool --pool-body memfd",
    "medium": "whole, below 16 MiB: the same",
    "path": "whole: --pool --pool-body path",
    "results": "results: --output of what cat gives back",
}


def disk_bytes(stat):
    return stat.st_blocks * 512


class Watch(threading.Thread):
    """The most that froe's memory files and its files under TMPDIR, named or not, held at once. `results` is emptied of what
    is complete, so that a disk need not hold all of it."""

    def __init__(self, temporary, results):
        super().__init__(daemon=True)
        self.temporary, self.results = temporary, results
        self.memory = self.files = self.samples = 0
        self.over = threading.Event()

    def look(self):
        memory, files = {}, {}
        for pid in descendants(os.getpid()):
            folder = f"/proc/{pid}/fd"
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                try:
                    target, stat = os.readlink(f"{folder}/{name}"), os.stat(f"{folder}/{name}")
                except OSError:
                    continue
                if target.startswith("/memfd:froe-spool"):
                    memory[stat.st_dev, stat.st_ino] = disk_bytes(stat)
                elif target.startswith(f"{self.temporary}/"):
                    files[stat.st_dev, stat.st_ino] = disk_bytes(stat)
        for parent, _, names in os.walk(self.temporary):
            for name in names:
                try:
                    stat = os.stat(f"{parent}/{name}")
                except OSError:
                    continue
                files[stat.st_dev, stat.st_ino] = disk_bytes(stat)
        self.memory, self.files = max(self.memory, sum(memory.values())), max(self.files, sum(files.values()))
        self.samples += 1

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.look()
            for entry in os.scandir(self.results):
                if not entry.name.startswith("."):
                    os.unlink(entry.path)


class Bench:
    def __init__(self, options):
        self.options = options
        self.build = pathlib.Path(options.build).resolve()
        self.folder = self.build / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.froe, self.mock, self.worker, self.memfd_worker = (self.build / path for path in (
            "src/cli/froe", "src/mock/froe-s3mock", "examples/pool_worker", "examples/pool_memfd_worker"))
        for program in (self.froe, self.mock, self.worker, self.memfd_worker):
            if not program.exists():
                raise Failed(f"{program} is not built")
        self.runs = []

    def command(self, kind, store, results):
        froe = [self.froe, "run", "--once", "--bucket-prefix", PREFIX, "--slots", str(SLOTS), "--log", "json",
                "--max-runs-per-bucket", "0", "--timeout", "10m", "--store", f"sqlite:{store}"]
        quiet = ["--", "/bin/sh", "-c", 'exec "$0" 2>/dev/null']
        if kind == "path":
            return froe + ["--pool", "--pool-body", "path", *quiet, self.worker]
        if kind in ("memfd", "medium"):
            return froe + ["--pool", "--pool-body", "memfd", *quiet, self.memfd_worker]
        if kind == "results":
            return froe + ["--output", f"{results}/{{bucket}}-{{stem}}", "--", "cat"]
        return froe + ["--", "cat"]

    def measure(self, mock, kind, count, size):
        store, temporary, results = self.folder / "memory.db", self.folder / "memory-tmp", self.folder / "memory-results"
        for path in self.folder.glob(store.name + "*"):
            path.unlink()
        for folder in (temporary, results):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        mock.fill(PREFIX, [count // BUCKETS + (i < count % BUCKETS) for i in range(BUCKETS)], size)
        env = client_environment(mock, self.folder) | {"TMPDIR": str(temporary)}
        watch = Watch(temporary, results)
        watch.start()
        try:
            result, _, err = run_client(self.command(kind, store, results), env, self.folder, f"memory-{kind}",
                                        pathlib.Path("/dev/null"))
        finally:
            watch.over.set()
            watch.join()
        told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        drained = next((line for line in told if line["message"] == "drained"), None)
        left = mock.ask("stats")["objects"]
        if not drained or drained["objects"] != count or left != 0:
            raise Failed(f"{kind}: {left} of {count} objects are left; it told {drained}")
        result |= {"handler": kind, "objects": count, "size": size, "memory_file_bytes": watch.memory, "file_bytes": watch.files,
                   "samples": watch.samples}
        self.runs.append(result)
        print(f"  {kind}: {count} objects of {size} bytes in {result['wall_seconds']:.0f} s", file=sys.stderr, flush=True)
        for folder in (temporary, results):
            shutil.rmtree(folder)

    def all_runs(self):
        options = self.options
        mock = Mock(self.mock, self.folder, False)
        try:
            for kind in ROWS:
                count = options.results if kind == "results" else options.objects
                if count:
                    self.measure(mock, kind, count, options.medium if kind == "medium" else options.size)
        finally:
            mock.stop()


def judge(runs, large):
    """What --memory promises, and that froe as a whole stays inside it where bodies are too large for memory."""
    values = {"memory_files": max(run["memory_file_bytes"] / MIB for run in runs),
              "all_of_large": max(run["memory_file_bytes"] / MIB + run["peak_kib"] / 1024 for run in runs if run["size"] == large)}
    return {name: {"value": value, "target": BUDGET_MIB, "met": value <= BUDGET_MIB} for name, value in values.items()}


def print_table(report):
    rows = [("", "objects", "MB each", "seconds", "resident MiB", "memory files MiB", "files MiB")]
    for run in report["runs"]:
        rows.append((ROWS[run["handler"]], str(run["objects"]), f"{run['size'] / 1e6:g}", f"{run['wall_seconds']:.0f}",
                     f"{run['peak_kib'] / 1024:.1f}", f"{run['memory_file_bytes'] / MIB:.0f}", f"{run['file_bytes'] / MIB:.0f}"))
    print(f"\n{SLOTS} slots, --memory {BUDGET_MIB} MiB; the most of each, looked at every {SAMPLE_S} s\n")
    print_rows(rows)
    names = {"memory_files": "memory files, most of any row, MiB", "all_of_large": "with what is resident, most of large ones, MiB"}
    print()
    for name, verdict in report["targets"].items():
        print(f"{names[name]:<48} {verdict['value']:6.0f}   target <= {verdict['target']} {'met' if verdict['met'] else 'MISSED'}")
    print_machine(report["machine"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (build)")
    parser.add_argument("--objects", type=int, default=1000, help="of each row but the last")
    parser.add_argument("--results", type=int, default=200, help="objects of the row of results; 0: leave it out")
    parser.add_argument("--size", type=int, default=100_000_000)
    parser.add_argument("--medium", type=int, default=15_000_000, help="of those that memory is for")
    options = parser.parse_args()
    if options.objects < 1 or options.results < 0 or options.size < 1 or options.medium < 1:
        parser.error("at least one object of at least one byte")
    try:
        bench = Bench(options)
        about = machine(bench.folder)
        bench.all_runs()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report = report_of(bench.froe, about) | {
        "config": {"buckets": BUCKETS, "slots": SLOTS, "budget_mib": BUDGET_MIB},
        "targets": judge(bench.runs, options.size),
        "runs": bench.runs,
    }
    path = bench.folder / "memory.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report)
    print(f"written to {path}")
    return 0


sys.exit(main())

#!/usr/bin/python3
"""Measures handlers: small objects through a pool and through a program each, large ones through a program, all from
froe-s3mock on loopback.

    handler_bench.py --build DIR [--objects N] [--large N] [--large-size BYTES] [--rounds N]

Prints two tables and writes DIR/bench/handler.json; what the figures mean is told in docs/benchmarks.md. Exit status: 0
when all runs did their work (also when a target was missed: the table says so), 1 when one failed.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

from common import Failed, Mock, cell, client_environment, machine, print_machine, print_rows, report_of, run_client, spread

PREFIX = "bench-"
BUCKETS = 4
SLOTS = 40
SMALL = 1024
WORKERS = 4 * len(os.sched_getaffinity(0))  # of the pool: they are quick, and each waits a turn of froe's loop for its next
BUDGET_MIB = 512  # froe's default --memory
TARGETS = {"pool_ratio": (10.0, ">="), "large_ratio": (0.9, ">="), "large_peak_mib": (BUDGET_MIB, "<=")}


class Bench:
    def __init__(self, options):
        self.options = options
        self.build = pathlib.Path(options.build).resolve()
        self.folder = self.build / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = {
            "loop": self.folder / "s3loop",
            "froe": self.build / "src/cli/froe",
            "mock": self.build / "src/mock/froe-s3mock",
            "worker": self.build / "examples/pool_worker",
        }
        for program in self.programs.values():
            if not program.exists():
                raise Failed(f"{program} is not built")
        self.runs = []

    def command(self, kind, store):
        if kind == "loop":
            return [self.programs["loop"], PREFIX, str(SLOTS)]
        froe = [self.programs["froe"], "run", "--once", "--bucket-prefix", PREFIX, "--slots", str(SLOTS), "--log", "json",
                "--max-runs-per-bucket", "0", "--timeout", "10m", "--store", f"sqlite:{store}"]
        if kind == "pool":  # the example's line for each object goes where it costs least
            return froe + ["--pool", "--pool-workers", str(WORKERS), "--", "/bin/sh", "-c", 'exec "$0" 2>/dev/null',
                           self.programs["worker"]]
        return froe + ["--", "cat"]  # into froe's own stdout, which is /dev/null

    def measure(self, mock, kind, count, size, label):
        name = f"{kind}-{size}"
        store = self.folder / "handler.db"
        for path in self.folder.glob(store.name + "*"):
            path.unlink()
        mock.fill(PREFIX, [count // BUCKETS + (i < count % BUCKETS) for i in range(BUCKETS)], size)
        stdout = pathlib.Path("/dev/null") if kind == "program" else None
        result, out, err = run_client(self.command(kind, store), client_environment(mock, self.folder), self.folder, name, stdout)
        if kind == "loop":
            told = json.loads(out)
        else:
            lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
            told = next((line for line in lines if line["message"] == "drained"), None)
        left = mock.ask("stats")["objects"]
        if not told or told["objects"] != count or left != 0:
            raise Failed(f"{name}: {left} of {count} objects are left; it told {told}")
        # froe is held to its whole life, the loop to its GETs and DELETEs alone.
        seconds = told["seconds"] if kind == "loop" else result["wall_seconds"]
        result.update({
            "label": label, "program": kind, "objects": count, "size": size, "seconds": seconds,
            "objects_per_second": count / seconds, "mib_per_second": count * size / seconds / (1 << 20),
            "cpu_us_per_object": result["cpu_seconds"] * 1e6 / count,
        })
        self.runs.append(result)
        print(f"  {label}: {name}: {result['objects_per_second']:.1f} objects/s, {result['mib_per_second']:.0f} MiB/s",
              file=sys.stderr, flush=True)

    def all_runs(self):
        options = self.options
        mock = Mock(self.programs["mock"], self.folder, False)
        try:
            for number in range(1, options.rounds + 1):
                label = f"round {number}"
                for kind in ("program", "pool"):
                    self.measure(mock, kind, options.objects, SMALL, label)
                for kind in ("loop", "program") if options.large else ():
                    self.measure(mock, kind, options.large, options.large_size, label)
        finally:
            mock.stop()


FIGURES = ("objects_per_second", "mib_per_second", "cpu_us_per_object", "peak_kib", "wall_seconds", "seconds")


def summarize(runs, size, base, other):
    """The figures of both, and in `ratio` by how much the other is faster, within each round."""
    some = [run for run in runs if run["size"] == size]
    summary = {kind: {figure: spread([run[figure] for run in some if run["program"] == kind]) for figure in FIGURES}
               for kind in (base, other)}
    pairs = {}
    for run in some:
        pairs.setdefault(run["label"], {})[run["program"]] = run["objects_per_second"]
    summary[other]["ratio"] = spread([pair[other] / pair[base] for pair in pairs.values()])
    return summary


def judge(summary):
    values = {"pool_ratio": summary["small"]["pool"]["ratio"]["median"]}
    if "large" in summary:
        values["large_ratio"] = summary["large"]["program"]["ratio"]["median"]
        values["large_peak_mib"] = summary["large"]["program"]["peak_kib"]["max"] / 1024
    judged = {}
    for name, value in values.items():
        target, order = TARGETS[name]
        judged[name] = {"value": value, "order": order, "target": target,
                        "met": value >= target if order == ">=" else value <= target}
    return judged


NAMES = {
    "small": {"program": "a  a program each: cat", "pool": "b  the pool: examples/pool/worker.c"},
    "large": {"loop": "a  bare GET+DELETE loop", "program": "b  froe run -- cat"},
}


def print_tables(report):
    config = report["config"]
    counts = {"small": (config["objects"], SMALL), "large": (config["large"], config["large_size"])}
    for part, kinds in report["summary"].items():
        print(f"\n{counts[part][0]} objects of {counts[part][1]} bytes, {SLOTS} slots; medians (least-most) of "
              f"{config['rounds']} rounds\n")
        print_rows([("", "objects/s", "MiB/s", "b/a", "CPU us/object", "peak MiB")] + [
            (NAMES[part][kind], cell(figures["objects_per_second"], ".1f"), cell(figures["mib_per_second"], ".1f"),
             cell(figures.get("ratio"), ".2f"), cell(figures["cpu_us_per_object"], ".0f"),
             cell(figures["peak_kib"], ".1f", 1 / 1024)) for kind, figures in kinds.items()])
    names = {"pool_ratio": "small objects: the pool by a program each", "large_ratio": "large objects: b/a",
             "large_peak_mib": "large objects: peak memory, MiB"}
    print()
    for name, verdict in report["targets"].items():
        print(f"{names[name]:<44} {verdict['value']:8.4g}   target {verdict['order']} {verdict['target']:<5g}"
              f" {'met' if verdict['met'] else 'MISSED'}")
    print_machine(report["machine"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (build)")
    parser.add_argument("--objects", type=int, default=40_000, help="small ones")
    parser.add_argument("--large", type=int, default=100, help="large ones; 0: none")
    parser.add_argument("--large-size", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.objects < 1 or options.rounds < 1 or options.large_size == SMALL:
        parser.error("at least one object and one round, and large ones that are large")
    try:
        bench = Bench(options)
        about = machine(bench.folder)
        bench.all_runs()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    summary = {"small": summarize(bench.runs, SMALL, "program", "pool")}
    if options.large:
        summary["large"] = summarize(bench.runs, options.large_size, "loop", "program")
    report = report_of(bench.programs["froe"], about) | {
        "config": {"objects": options.objects, "size": SMALL, "large": options.large, "large_size": options.large_size,
                   "buckets": BUCKETS, "slots": SLOTS, "workers": WORKERS, "rounds": options.rounds},
        "summary": summary,
        "targets": judge(summary),
        "runs": bench.runs,
    }
    path = bench.folder / "handler.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print_tables(report)
    print(f"written to {path}")
    return 0


sys.exit(main())

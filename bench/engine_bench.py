#!/usr/bin/python3
"""Measures the engine: run lifecycles through libfroe on SQLite and PostgreSQL, and a row-per-task queue beside them.

    engine_bench.py --build DIR [--rounds N] [--scale F] [--no-postgres]

Prints one table and writes DIR/bench/engine.json; what the figures mean is told in docs/benchmarks.md. Exit status: 0 when
all runs did their work (also when a target was missed: the table says so), 1 when one failed.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from common import Failed, cell, fdatasync_us, machine, print_machine, print_rows, spread

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))
import postgres  # noqa: E402 (the tests' private server)

TIMEOUT_S = 600
# Runs of one measurement, so that each takes a second or two.
RUNS = {("sqlite", 1): 2000, ("sqlite", 100): 200_000, ("sqlite", 1000): 500_000,
        ("postgres", 1): 500, ("postgres", 100): 50_000, ("postgres", 1000): 200_000}
TASKS = {("sqlite", 1): 2000, ("sqlite", 100): 100_000, ("sqlite", 1000): 300_000,
         ("postgres", 1): 500, ("postgres", 100): 10_000, ("postgres", 1000): 50_000}
CLIENTS = 100
REST_S = 0.005  # of the engine, before each spawn whose start is timed


class Bench:
    def __init__(self, options):
        self.options = options
        self.build = pathlib.Path(options.build).resolve()
        self.folder = self.build / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = {name: self.folder / name for name in ("enginebench", "yardstick", "expressions")}
        for program in self.programs.values():
            if not program.exists():
                raise Failed(f"{program} is not built")
        self.postgres = None
        self.figures = {}  # (name, kind of store, number) -> values, one a round
        self.serial = 0

    def store(self, kind):
        """A store that nobody used before."""
        self.serial += 1
        if kind == "postgres":
            return self.server(f"&froe_schema=bench{self.serial}")
        for path in self.folder.glob("engine.db*"):
            path.unlink()
        return f"sqlite:{self.folder / 'engine.db'}"

    def server(self, more=""):
        """Froe and the yardstick reach the server as whoever has it on the same host: by its Unix socket."""
        return f"postgres://froe@/fleet?host={self.postgres.folder}&port={self.postgres.port}{more}"

    def run(self, program, store, *arguments):
        command = [self.programs[program], store, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise Failed(f"{program} {' '.join(map(str, arguments))}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def note(self, name, kind, number, value):
        self.figures.setdefault((name, kind, number), []).append(value)
        print(f"  {name} {kind} {number}: {value:.6g}", file=sys.stderr, flush=True)

    def scaled(self, n, least):
        return max(least, int(n * self.options.scale))

    def round(self, kinds):
        for per in (1000, 100):
            for kind in kinds:
                written = self.written() if kind == "postgres" else None
                got = self.run("enginebench", self.store(kind), "lifecycle", per, self.scaled(RUNS[kind, per], per))
                if written:
                    rows, wal = (b - a for a, b in zip(written, self.written()))
                    got["rows_per_1000"], got["bytes_per_1000"] = (n * 1000 / got["runs"] for n in (rows, wal))
                self.note("lifecycles", kind, per, got["per_second"])
                self.note("rows", kind, per, got["rows_per_1000"])
                self.note("bytes", kind, per, got["bytes_per_1000"])
                self.yardstick(kind, per)
        for kind in kinds:
            folder = self.folder if kind == "sqlite" else self.postgres.folder
            syncs = 1e6 / fdatasync_us(folder)
            one = self.run("enginebench", self.store(kind), "clients", 1, self.scaled(RUNS[kind, 1], 100))["per_second"]
            self.note("lifecycles", kind, 1, one)
            self.note("one client / fdatasyncs a second", kind, 1, one / syncs)
            self.yardstick(kind, 1)
            many = self.run("enginebench", self.store(kind), "clients", CLIENTS, self.scaled(20 * RUNS[kind, 1], 1000))
            self.note("clients", kind, CLIENTS, many["per_second"])
            self.note("clients / one client", kind, CLIENTS, many["per_second"] / one)
            late = self.run("enginebench", self.store(kind), "latency", self.scaled(300, 50))
            self.note("start p50 us", kind, 1, late["p50_us"])
            self.note("start p50 / fdatasync p50", kind, 1, late["p50_us"] * syncs / 1e6)
            self.note("start p50 / rested fdatasync p50", kind, 1, late["p50_us"] / fdatasync_us(folder, REST_S))

    def written(self):
        """Rows that the server has written in froe's tables, and bytes of its log."""
        rows = self.postgres.sql("SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables"
                                 " WHERE schemaname LIKE 'bench%'")
        return int(rows[0][0]), int(self.postgres.sql("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])

    def yardstick(self, kind, per):
        uri = self.store(kind) if kind == "sqlite" else self.server()
        got = self.run("yardstick", uri, per, self.scaled(TASKS[kind, per], per))
        self.note("yardstick", kind, per, got["per_second"])
        self.note("froe / yardstick", kind, per, self.figures["lifecycles", kind, per][-1] / got["per_second"]
                  if ("lifecycles", kind, per) in self.figures else 0)

    def expressions(self):
        done = subprocess.run([self.programs["expressions"], str(self.scaled(1_000_000, 1000))], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr)
        for expression, ns in json.loads(done.stdout).items():
            self.note("ns of an evaluation", expression, 1, ns)

    def once(self, kinds):
        self.expressions()
        for kind in kinds:
            got = self.run("enginebench", self.store(kind), "dedup", self.scaled(1_000_000, 100_000))
            self.note("dedup ratio", kind, got["live"], got["ratio"])
            self.note("bytes of memory a queued run", kind, got["live"], got["bytes_per_queued"])

    def all(self):
        kinds = ["sqlite"]
        try:
            if not self.options.no_postgres:
                missing = postgres.missing()
                if missing:
                    raise Failed(f"no PostgreSQL server here ({missing}); --no-postgres leaves it out")
                self.postgres = postgres.Postgres()
                kinds.append("postgres")
            for _ in range(self.options.rounds):
                self.round(kinds)
            self.once(kinds)
        finally:
            if self.postgres:
                self.postgres.remove()


def targets(median, kinds):
    """(what, value, order, target)"""
    rows = [("SQLite lifecycles/s at 1000 per spawn", median("lifecycles", "sqlite", 1000), ">=", 400_000),
            ("SQLite, one client: of the disk's fdatasyncs/s", median("one client / fdatasyncs a second", "sqlite", 1), ">=", 0.25),
            (f"SQLite, {CLIENTS} clients: times one client", median("clients / one client", "sqlite", CLIENTS), ">=", 20),
            ("SQLite, spawn to start p50: times fdatasync p50", median("start p50 / fdatasync p50", "sqlite", 1), "<=", 3),
            ("the same, of a disk that rested as long", median("start p50 / rested fdatasync p50", "sqlite", 1), "<=", 3)]
    if "postgres" in kinds:
        rows.insert(1, ("PostgreSQL at 1000 per spawn: times the yardstick", median("froe / yardstick", "postgres", 1000), ">=", 5))
        rows.append(("PostgreSQL, one client: of the disk's fdatasyncs/s",
                     median("one client / fdatasyncs a second", "postgres", 1), ">=", 0.25))
        rows.append((f"PostgreSQL, {CLIENTS} clients: times one client", median("clients / one client", "postgres", CLIENTS), ">=", 20))
    return rows


def print_report(bench, kinds, about):
    figures = {key: spread(values) for key, values in bench.figures.items()}

    def median(*key):
        return figures[key]["median"]

    rows = [("", "froe, runs/s", "row per task, tasks/s", "ratio", "rows/1000", "KiB/1000")]
    for kind in kinds:
        for per in (1, 100, 1000):
            rows.append((f"{kind}, {per} per spawn", cell(figures["lifecycles", kind, per], ".0f"),
                         cell(figures["yardstick", kind, per], ".0f"), cell(figures["froe / yardstick", kind, per], ".2f"),
                         cell(figures.get(("rows", kind, per)), ".1f"),
                         cell(figures.get(("bytes", kind, per)), ".0f", 1 / 1024)))
        rows.append((f"{kind}, {CLIENTS} clients of 1", cell(figures["clients", kind, CLIENTS], ".0f"), "-", "-", "-", "-"))
    print(f"\nrun lifecycles (spawn, claim, settle) with 67-byte child keys and an empty task, all durable (fdatasync before each\n"
          f"acknowledgement), deduplicated; medians (least-most) of {bench.options.rounds} interleaved rounds. 1 per spawn: one\n"
          f"client that waits for each result\n")
    print_rows(rows)
    judged = targets(median, kinds)
    for (name, kind, live), value in figures.items():
        if name == "dedup ratio":
            judged.append((f"{kind}, spawning 1000 beside {live} live: times empty", value["median"], "<", 2))
        if (name, kind) == ("ns of an evaluation", "input.bucket"):
            judged.append(("evaluating input.bucket, nanoseconds", value["median"], "<", 1000))
        if name == "bytes of memory a queued run" and kind == "sqlite":
            judged.append((f"{kind}, bytes of memory a run at {live} queued", value["median"], "<=", 130))
    print()
    verdicts = []
    for what, value, order, target in judged:
        met = value >= target if order == ">=" else value <= target
        verdicts.append({"what": what, "value": value, "order": order, "target": target, "met": met})
        print(f"{what:<58} {value:10.5g}   target {order} {target:<7g} {'met' if met else 'MISSED'}")
    print()
    print_machine(about)
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (build)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of runs of each measurement")
    parser.add_argument("--no-postgres", action="store_true")
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.scale <= 100:
        parser.error("at least one round, and a scale above 0")
    try:
        bench = Bench(options)
        about = machine(bench.folder)
        bench.all()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    kinds = ["sqlite"] if options.no_postgres else ["sqlite", "postgres"]
    verdicts = print_report(bench, kinds, about)
    path = bench.folder / "engine.json"
    path.write_text(json.dumps({
        "schema": 1, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": about,
        "rounds": options.rounds, "targets": verdicts,
        "figures": [{"name": name, "store": kind, "number": number, "values": values, "median": statistics.median(values)}
                    for (name, kind, number), values in bench.figures.items()]}, indent=1) + "\n")
    print(f"written to {path}")
    return 0


sys.exit(main())

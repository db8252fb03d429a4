#!/usr/bin/python3
"""Measures a drain: froe against a bare loop on its own S3 client, both from froe-s3mock on loopback.

    drain_bench.py --build DIR [--objects N] [--rounds N] [--big N] [--no-tls]

Prints one table and writes DIR/bench/drain.json; what the figures mean is told in docs/benchmarks.md. Exit status: 0 when
all runs did their work (also when a target was missed: the table says so), 1 when one failed.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys

from common import Failed, Mock, cell, client_environment, machine, print_machine, print_rows, report_of, run_client, spread

BUCKETS = 10
SIZE = 1024
SLOTS = 40
CAP = 20  # froe's default cap per bucket
PREFIX = "bench-"
TARGETS = {"ratio": 0.80, "requests_per_object": 2.01, "peak_mib": 64.0, "jain": 0.98}


def zipf(objects, buckets):
    """Sizes by Zipf's law with exponent 1: the k-th bucket holds 1/k of what the first one holds."""
    weights = [1 / k for k in range(1, buckets + 1)]
    sizes = [int(objects * w / sum(weights)) for w in weights]
    sizes[0] += objects - sum(sizes)
    return sizes


def jain(shares):
    return sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares)) if any(shares) else 0.0


def fairness(trace, sizes):
    """Jain's index of the deletes per bucket, from the moment when every bucket has had one until the first bucket has no
    more than a slot's worth left; and the worst index of any 200 ms in between."""
    series = []
    for i, size in enumerate(sizes):
        points = trace["buckets"].get(f"{PREFIX}{i + 1:02d}", [])
        if not points:
            return None, None
        used_up = next((ms for ms, n in points if n >= max(1, size - SLOTS)), points[-1][0])
        series.append((points, points[0][0], used_up))
    begin, end = max(s[1] for s in series), min(s[2] for s in series)

    def deletes(points, ms):  # until that moment
        before = [n for at, n in points if at <= ms]
        return before[-1] if before else 0

    def index(start, stop):
        return jain([deletes(points, stop) - deletes(points, start) for points, _, _ in series])

    if end <= begin:
        return None, None
    windows = [index(at, at + 200) for at in range(begin, end - 200 + 1, 200)]
    return index(begin, end), min(windows) if windows else None


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
        }
        for program in self.programs.values():
            if not program.exists():
                raise Failed(f"{program} is not built")
        self.runs = []

    def make_certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=froe bench", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def command(self, kind, store):
        if kind == "loop":
            return [self.programs["loop"], PREFIX, str(SLOTS)]
        return [self.programs["froe"], "run", "--once", "--discard", "--bucket-prefix", PREFIX, "--slots", str(SLOTS),
                "--max-runs-per-bucket", str(CAP if kind == "froe-capped" else 0), "--log", "json",
                "--store", f"sqlite:{store}"]

    def remove_store(self, store):
        for path in self.folder.glob(store.name + "*"):
            path.unlink()

    def measure(self, mock, kind, objects, label):
        """One drain of a freshly filled server."""
        sizes = zipf(objects, BUCKETS)
        name = f"{kind}-{mock.scheme}"
        store = self.folder / f"{name}.db"
        self.remove_store(store)
        mock.fill(PREFIX, sizes, SIZE)
        mock_cpu = mock.cpu_seconds()
        result, out, err = run_client(self.command(kind, store), client_environment(mock, self.folder), self.folder, name)
        mock_cpu = mock.cpu_seconds() - mock_cpu
        stats, trace = mock.ask("stats"), mock.ask("trace")
        self.remove_store(store)
        if kind == "loop":
            told = json.loads(out)
        else:
            lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
            told = next((line for line in lines if line["message"] == "drained"), None)
        if not told or told["objects"] != objects or stats["objects"] != 0:
            raise Failed(f"{name}: {stats['objects']} of {objects} objects are left; it told {told}")
        requests = {op: n / objects for op, n in stats["requests"].items() if n}
        fair, worst = fairness(trace, sizes)
        result.update({
            "label": label, "program": kind, "scheme": mock.scheme, "objects": objects,
            "seconds": told["seconds"],  # of the loop without its listing; of the whole drain
            # froe is held to its whole life, the loop to its GETs and DELETEs alone.
            "objects_per_second": objects / (told["seconds"] if kind == "loop" else result["wall_seconds"]),
            "cpu_us_per_object": result["cpu_seconds"] * 1e6 / objects,
            "server_cpu_us_per_object": mock_cpu * 1e6 / objects,
            "requests_per_object": sum(requests.values()), "requests": requests,
            "connections": stats["connections"], "jain": fair, "jain_worst_200ms": worst,
        })
        self.runs.append(result)
        print(f"  {label}: {name}: {result['objects_per_second']:.0f} objects/s", file=sys.stderr, flush=True)
        return result

    def all_runs(self):
        options = self.options
        mocks = [Mock(self.programs["mock"], self.folder, False)]
        try:
            if not options.no_tls:
                self.make_certificate()
                mocks.append(Mock(self.programs["mock"], self.folder, True))
            for number in range(1, options.rounds + 1):
                for mock in mocks:
                    self.measure(mock, "loop", options.objects, f"round {number}")
                    self.measure(mock, "froe", options.objects, f"round {number}")
                    if mock.scheme == "http":
                        self.measure(mock, "froe-capped", options.objects, f"round {number}")
            if options.big:
                self.measure(mocks[0], "froe", options.big, "big")
        finally:
            for mock in mocks:
                mock.stop()

    def syncs(self):
        """fdatasyncs of a drain, counted by strace where there is one; on a run of its own, as it costs time."""
        if not shutil.which("strace"):
            return None
        mock = Mock(self.programs["mock"], self.folder, False)
        store, counts = self.folder / "syncs.db", self.folder / "syncs.strace"
        try:
            self.remove_store(store)
            mock.fill(PREFIX, zipf(self.options.objects, BUCKETS), SIZE)
            command = ["strace", "-f", "--seccomp-bpf", "-c", "-e", "trace=fdatasync,fsync", "-o", counts]
            run_client(command + self.command("froe", store), client_environment(mock, self.folder), self.folder, "syncs")
        except Failed:
            return None  # a machine that lets nobody trace
        finally:
            mock.stop()
            self.remove_store(store)
        rows = [line.split() for line in counts.read_text().splitlines()]
        return sum(int(row[3]) for row in rows if row and row[-1] in ("fdatasync", "fsync"))


FIGURES = ("objects_per_second", "cpu_us_per_object", "server_cpu_us_per_object", "requests_per_object", "peak_kib", "jain",
           "jain_worst_200ms", "wall_seconds", "seconds")


def summarize(runs):
    summary = {}
    for scheme in ("http", "https"):
        for program in ("loop", "froe", "froe-capped"):
            some = [run for run in runs if run["scheme"] == scheme and run["program"] == program and run["label"] != "big"]
            if some:
                summary.setdefault(scheme, {})[program] = {
                    figure: spread([run[figure] for run in some])
                    for figure in FIGURES if all(run[figure] is not None for run in some)}
        if scheme in summary:
            pairs = {}
            for run in runs:
                if run["scheme"] == scheme and run["label"] != "big":
                    pairs.setdefault(run["label"], {})[run["program"]] = run
            for program in ("froe", "froe-capped"):
                ratios = [pair[program]["objects_per_second"] / pair["loop"]["objects_per_second"]
                          for pair in pairs.values() if program in pair]
                if ratios:
                    summary[scheme][program]["ratio"] = spread(ratios)
    return summary


def judge(summary, big):
    froe = summary["http"]["froe"]
    results = {
        "ratio": (froe["ratio"]["median"], ">="),
        "requests_per_object": (froe["requests_per_object"]["median"], "<="),
        "peak_mib": (froe["peak_kib"]["max"] / 1024, "<="),
        "jain": (froe["jain"]["median"] if "jain" in froe else 0, ">="),
    }
    if "https" in summary:
        results["ratio_tls"] = (summary["https"]["froe"]["ratio"]["median"], ">=")
    if big:
        results["peak_mib_big"] = (big["peak_kib"] / 1024, "<=")
    judged = {}
    for name, (value, order) in results.items():
        target = TARGETS[name.removesuffix("_tls").removesuffix("_big")]
        judged[name] = {"value": value, "order": order, "target": target,
                        "met": value >= target if order == ">=" else value <= target}
    return judged


NAMES = {
    ("http", "loop"): "a  bare GET+DELETE loop",
    ("http", "froe"): "b  froe run --once --discard",
    ("http", "froe-capped"): f"b' with the default cap of {CAP}",
    ("https", "loop"): "a  over TLS",
    ("https", "froe"): "b  over TLS",
}


def print_table(report):
    config, summary, big = report["config"], report["summary"], report["big"]
    rows = [("", "objects/s", "b/a", "CPU us/object", "requests/object", "peak MiB", "Jain")]
    for (scheme, program), name in NAMES.items():
        figures = summary.get(scheme, {}).get(program)
        if figures:
            rows.append((name, cell(figures["objects_per_second"], ".0f"), cell(figures.get("ratio"), ".3f"),
                         cell(figures["cpu_us_per_object"], ".1f"), cell(figures["requests_per_object"], ".4f"),
                         cell(figures["peak_kib"], ".1f", 1 / 1024), cell(figures.get("jain"), ".4f")))
    if big:
        rows.append((f"b  with {big['objects']} objects", f"{big['objects_per_second']:.0f}", "-",
                     f"{big['cpu_us_per_object']:.1f}", f"{big['requests_per_object']:.4f}", f"{big['peak_kib'] / 1024:.1f}",
                     "-" if big["jain"] is None else f"{big['jain']:.4f}"))
    print(f"\n{config['objects']} objects of {config['size']} bytes in {config['buckets']} buckets by Zipf, "
          f"{config['slots']} slots; medians (least-most) of {config['rounds']} rounds\n")
    print_rows(rows)
    names = {"ratio": "b/a", "ratio_tls": "b/a over TLS", "requests_per_object": "requests per object",
             "peak_mib": "peak memory, MiB", "peak_mib_big": f"peak memory, MiB, {big['objects'] if big else 0} objects",
             "jain": "Jain's index over buckets with backlog"}
    print()
    for name, verdict in report["targets"].items():
        print(f"{names[name]:<44} {verdict['value']:8.4g}   target {verdict['order']} {verdict['target']:<5g}"
              f" {'met' if verdict['met'] else 'MISSED'}")
    kinds = ", ".join(f"{op} {n:.4f}" for op, n in report["requests"].items())
    print(f"\nrequests per object of b by kind: {kinds}")
    if report["fdatasyncs"] is not None:
        print(f"fdatasyncs of a drain: {report['fdatasyncs']}")
    print_machine(report["machine"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (build)")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--big", type=int, default=1_000_000, help="objects of the run for peak memory; 0: none")
    parser.add_argument("--no-tls", action="store_true")
    options = parser.parse_args()
    if options.objects < 1000 or options.rounds < 1:
        parser.error("at least 1000 objects and one round")
    try:
        bench = Bench(options)
        about = machine(bench.folder)
        bench.all_runs()
        syncs = bench.syncs()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    summary = summarize(bench.runs)
    big = next((run for run in bench.runs if run["label"] == "big"), None)
    froe = [run for run in bench.runs if run["program"] == "froe" and run["label"] != "big"]
    report = report_of(bench.programs["froe"], about) | {
        "config": {"objects": options.objects, "size": SIZE, "buckets": BUCKETS, "slots": SLOTS, "cap": CAP,
                   "rounds": options.rounds, "big": options.big, "sizes": zipf(options.objects, BUCKETS)},
        "summary": summary,
        "requests": froe[-1]["requests"],
        "big": big,
        "fdatasyncs": syncs,
        "targets": judge(summary, big),
        "runs": bench.runs,
    }
    path = bench.folder / "drain.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report)
    print(f"written to {path}")
    return 0


sys.exit(main())

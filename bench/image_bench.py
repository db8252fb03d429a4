#!/usr/bin/python3
"""Measures work on images: JPEGs of about 1 MB to 512-pixel thumbnails, WebP and JPEG.

    image_bench.py --build DIR [--images N] [--rounds N] [--no-others]

froe with its image handler, from froe-s3mock on loopback to a directory, against the same work by libvips in a bare loop (one
process a core, no S3), and against loops over files with vipsthumbnail, ImageMagick's convert and sharp. Prints one table and
writes DIR/bench/image.json; what the figures mean is told in docs/benchmarks.md. Exit status: 0 when all runs did their work
(also when a target was missed: the table says so), 1 when one failed.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import time

from common import Failed, Mock, cell, client_environment, descendants, machine, print_machine, print_rows, report_of, spread

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/e2e"))
from s3raw import RawS3  # noqa: E402

BUCKET = "bench-photos"
KINDS = 40  # pictures that differ; the files are these with a comment of their own
SIDE = (3000, 2000)
WIDTH, QUALITY = 512, 80
TARGET = 0.95
CONVERT = "/usr/bin/convert"
OUTPUTS = [{"name": "webp", "format": "webp"}, {"name": "jpeg", "format": "jpeg"}]
SPEC = {"width": WIDTH, "height": WIDTH, "quality": QUALITY, "outputs": OUTPUTS}
TIMEOUT_S = 3600


# ---- pictures ----

def make_picture(folder, seed, path):
    """Clouds, an edge, and some noise: about 1 MB, as a camera's pictures have them."""
    def vips(*words):
        subprocess.run(["vips", *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    dice = random.Random(seed)
    for band in range(3):
        vips("perlin", f"p{band}.v", *SIDE, "--cell-size", dice.randrange(150, 700), "--seed", seed * 3 + band, "--uchar")
    vips("bandjoin", "p0.v p1.v p2.v", "rgb.v")
    vips("gaussnoise", "noise.v", *SIDE, "--mean", 0, "--sigma", 7, "--seed", seed)
    vips("add", "rgb.v", "noise.v", "sum.v")
    vips("cast", "sum.v", "bytes.v", "uchar")
    vips("copy", "bytes.v", "srgb.v", "--interpretation", "srgb")
    vips("jpegsave", "srgb.v", path, "--Q", 84)
    for name in ("p0.v", "p1.v", "p2.v", "rgb.v", "noise.v", "sum.v", "bytes.v", "srgb.v"):
        (folder / name).unlink()


def make_files(folder, count):
    """The same ones each time; they are made once."""
    files = folder / f"photos-{count}"
    if (files / "complete").exists():
        return files
    shutil.rmtree(files, ignore_errors=True)
    (files / "jpg").mkdir(parents=True)
    kinds = []
    for seed in range(min(KINDS, count)):
        path = files / f"kind-{seed}.jpg"
        make_picture(files, seed, path)
        kinds.append(path.read_bytes())
        path.unlink()
    for i in range(count):
        comment = b"photo %08d" % i
        kind = kinds[i % len(kinds)]
        (files / "jpg" / f"{i:05d}.jpg").write_bytes(kind[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + kind[2:])
    (files / "complete").touch()
    return files


# ---- running ----

def memory_kib(root):
    """Of a process and all below it; what they share counts by parts (PSS)."""
    total = 0
    for pid in descendants(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as lines:
                total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        except OSError:
            pass
    return total


def run_all(command, env, folder, name):
    """To its end: wall and CPU time with that of its children, and the most memory that was seen, 5 times a second."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with open(out, "wb") as out_file, open(err, "wb") as err_file:
        began, looked, peak = time.monotonic(), 0.0, 0
        process = subprocess.Popen([str(word) for word in command], env=env, stdout=out_file, stderr=err_file,
                                   stdin=subprocess.DEVNULL)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - looked > 0.2:
                looked = time.monotonic()
                peak = max(peak, memory_kib(process.pid))
            if time.monotonic() - began > TIMEOUT_S:
                process.kill()
            time.sleep(0.01)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{name}: exit status {process.returncode}; see {err}\n{err.read_text(errors='replace')[-2000:]}")
    return {"wall_seconds": wall, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_kib": peak}


SHARP = """
const fs = require('fs'), path = require('path'), sharp = require('sharp');
const [from, to, cores] = process.argv.slice(2);
sharp.concurrency(1);
sharp.cache(false);
const files = fs.readdirSync(from);
async function work() {
  for (let file; (file = files.pop());) {
    const one = sharp(path.join(from, file)).rotate().resize(WIDTH, WIDTH, {fit: 'inside', withoutEnlargement: true});
    await Promise.all([one.clone().webp({quality: QUALITY}).toFile(path.join(to, file + '.webp')),
                       one.clone().jpeg({quality: QUALITY}).toFile(path.join(to, file + '.jpeg'))]);
  }
}
Promise.all(Array.from({length: +cores}, work));
""".replace("WIDTH", str(WIDTH)).replace("QUALITY", str(QUALITY))


class Bench:
    def __init__(self, options):
        self.options = options
        self.build = pathlib.Path(options.build).resolve()
        self.folder = self.build / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.froe, self.image, self.mock_program = (self.build / path for path in (
            "src/cli/froe", "src/image/froe-image", "src/mock/froe-s3mock"))
        for program in (self.froe, self.image, self.mock_program):
            if not program.exists():
                raise Failed(f"{program} is not built (froe-image needs libvips: scripts/deps build)")
        for tool in ("vips", "vipsthumbnail"):
            if not shutil.which(tool):
                raise Failed(f"{tool} is missing: scripts/deps bench installs it")
        self.cores = len(os.sched_getaffinity(0))
        self.runs, self.missing = [], {}
        self.everything = self.folder / "thumbnails"
        shutil.rmtree(self.everything, ignore_errors=True)

    def tools(self):
        """What is measured besides, as far as it is there."""
        found = ["vipsthumbnail"]
        if os.path.exists(CONVERT):
            found.append("convert")
        else:
            self.missing["convert"] = "ImageMagick is not installed"
        node = shutil.which("node")
        script = self.folder / "sharp.js"
        script.write_text(SHARP)
        if node and subprocess.run([node, "-e", "require('sharp')"], cwd=self.folder, capture_output=True).returncode == 0:
            found.append("sharp")
        else:
            self.missing["sharp"] = "the sharp module is not installed" if node else "Node is not installed"
        return found

    def command(self, kind, photos):
        box, here = f"{WIDTH}x{WIDTH}>", self.results
        each = ["xargs", "-0", "-n1", f"-P{self.cores}", "sh", "-c"]
        if kind == "bare":
            return [self.image, "--loop", photos, json.dumps(SPEC), here]
        if kind == "sharp":
            return [shutil.which("node"), self.folder / "sharp.js", photos, here, self.cores]
        if kind == "vipsthumbnail":
            line = " && ".join(f"vipsthumbnail \"$0\" -s '{box}' -o '{here}/%s.{to}[Q={QUALITY},strip]'"
                               for to in ("webp", "jpg"))
        else:  # jpeg:size lets it shrink while it decodes, as the others do
            line = (f"{CONVERT} -define jpeg:size={2 * WIDTH}x{2 * WIDTH} \"$0\" -auto-orient -strip -thumbnail '{box}' "
                    f"-quality {QUALITY} -write \"{here}/$(basename \"$0\").webp\" \"{here}/$(basename \"$0\")\"")
        return ["sh", "-c", "printf '%s\\0' \"$1\"/*.jpg | " + " ".join(each) + ' "$2"', "sh", photos, line]

    def fresh(self):
        """A directory for each run, removed after all: what ext4 has just deleted makes new files dear for minutes."""
        self.results = self.everything / str(len(self.runs))
        self.results.mkdir(parents=True)

    def note(self, kind, number, result, outputs):
        images = self.options.images
        if outputs != 2 * images:
            raise Failed(f"{kind}: {outputs} results of {images} images")
        result |= {"round": number, "program": kind, "images": images,
                   "images_per_second": images / result["wall_seconds"], "cpu_ms_per_image": result["cpu_seconds"] * 1e3 / images}
        self.runs.append(result)
        print(f"  round {number}: {kind}: {result['images_per_second']:.1f} images/s", file=sys.stderr, flush=True)

    def measure_files(self, kind, number, photos):
        self.fresh()
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.folder), "VIPS_CONCURRENCY": "1",
               "MAGICK_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1", "NODE_PATH": os.environ.get("NODE_PATH", "")}
        result = run_all(self.command(kind, photos), env, self.folder, f"image-{kind}")
        self.note(kind, number, result, len(list(self.results.iterdir())))

    def fill(self, mock, photos):
        host, port = mock.url.split("//")[1].split(":")
        raw = RawS3(host, int(port), "test", "test", "us-east-1")
        mock.ask("reset?what=all", "POST")
        status, _, body = raw.request("PUT", f"/{BUCKET}")
        for path in sorted(photos.iterdir()):
            if status != 200:
                raise Failed(f"froe-s3mock answers {status} to an upload: {body[:300]}")
            status, _, body = raw.request("PUT", f"/{BUCKET}/{path.name}", body=path.read_bytes())

    def measure_froe(self, mock, number, photos):
        self.fresh()
        self.fill(mock, photos)
        store, config = self.folder / "image.db", self.folder / "image.yaml"
        for path in self.folder.glob("image.db*"):
            path.unlink()
        config.write_text(json.dumps({  # which is YAML too
            "bucket_prefix": BUCKET, "store": f"sqlite:{store}", "max_runs_per_bucket": 0, "timeout": "10m",
            "rules": [{"handler": {"image": SPEC}, "output": f"{self.results}/{{stem}}.{{name}}"}]}))
        env = client_environment(mock, self.folder)
        server = mock.cpu_seconds()
        result = run_all([self.froe, "run", "--once", "--log", "json", "--config", config], env, self.folder, "image-froe")
        result["server_cpu_seconds"] = mock.cpu_seconds() - server
        left = mock.ask("stats")["objects"]
        if left:
            raise Failed(f"froe: {left} of {self.options.images} objects are left")
        self.note("froe", number, result, len(list(self.results.iterdir())))

    def all_runs(self):
        photos = make_files(self.folder, self.options.images) / "jpg"
        self.bytes = sum(path.stat().st_size for path in photos.iterdir())
        tools = self.tools()
        mock = Mock(self.mock_program, self.folder, False, "--default-checksum")
        try:
            for number in range(1, self.options.rounds + 1):
                self.measure_files("bare", number, photos)
                self.measure_froe(mock, number, photos)
                for tool in tools if self.options.others else ():
                    self.measure_files(tool, number, photos)
        finally:
            mock.stop()
            shutil.rmtree(self.everything, ignore_errors=True)


def summarize(runs):
    summary = {}
    for kind in dict.fromkeys(run["program"] for run in runs):
        some = [run for run in runs if run["program"] == kind]
        summary[kind] = {figure: spread([run[figure] for run in some])
                         for figure in ("images_per_second", "cpu_ms_per_image", "peak_kib", "wall_seconds")}
        bare = {run["round"]: run for run in runs if run["program"] == "bare"}
        summary[kind]["ratio"] = spread([run["images_per_second"] / bare[run["round"]]["images_per_second"] for run in some])
    return summary


def judge(summary):
    froe = summary["froe"]["images_per_second"]["median"]
    judged = {"ratio": {"value": summary["froe"]["ratio"]["median"], "target": TARGET}}
    for kind in ("vipsthumbnail", "convert", "sharp"):
        if kind in summary:
            judged[kind] = {"value": froe / summary[kind]["images_per_second"]["median"], "target": 1.0}
    for verdict in judged.values():
        verdict["met"] = verdict["value"] >= verdict["target"]
    return judged


NAMES = {"bare": "a  bare libvips, one process a core", "froe": "b  froe, image handler, S3 to a directory",
         "vipsthumbnail": "c  vipsthumbnail, one a core", "convert": "d  ImageMagick's convert, one a core",
         "sharp": "e  sharp on Node"}


def print_table(report):
    config, summary = report["config"], report["summary"]
    rows = [("", "images/s", "/a", "CPU ms/image", "peak MiB")]
    for kind, name in NAMES.items():
        if kind in summary:
            one = summary[kind]
            rows.append((name, cell(one["images_per_second"], ".1f"), cell(one["ratio"], ".3f"),
                         cell(one["cpu_ms_per_image"], ".1f"), cell(one["peak_kib"], ".0f", 1 / 1024)))
        elif kind in report["missing"]:
            rows.append((name, f"missing: {report['missing'][kind]}", "", "", ""))
    print(f"\n{config['images']} JPEGs of {SIDE[0]}x{SIDE[1]}, {config['mean_bytes'] / 1e6:.2f} MB each, to {WIDTH}-pixel WebP and JPEG; "
          f"medians (least-most) of {config['rounds']} rounds\n")
    print_rows(rows)
    print()
    names = {"ratio": "froe by bare libvips", "vipsthumbnail": "froe by vipsthumbnail", "convert": "froe by convert", "sharp": "froe by sharp"}
    for name, verdict in report["targets"].items():
        print(f"{names[name]:<30} {verdict['value']:8.4g}   target >= {verdict['target']:<5g} {'met' if verdict['met'] else 'MISSED'}")
    print_machine(report["machine"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (build)")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-others", dest="others", action="store_false", help="froe and bare libvips alone")
    options = parser.parse_args()
    if options.images < 1 or options.rounds < 1:
        parser.error("at least one image and one round")
    try:
        bench = Bench(options)
        about = machine(bench.folder)
        bench.all_runs()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    summary = summarize(bench.runs)
    formats = json.loads(subprocess.run([bench.image, "--formats"], capture_output=True, text=True, check=True).stdout)
    report = report_of(bench.froe, about) | {
        "libvips": formats["libvips"],
        "config": {"images": options.images, "rounds": options.rounds, "mean_bytes": bench.bytes / options.images, "spec": SPEC},
        "summary": summary,
        "missing": bench.missing,
        "targets": judge(summary),
        "runs": bench.runs,
    }
    path = bench.folder / "image.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report)
    print(f"written to {path}")
    return 0


sys.exit(main())

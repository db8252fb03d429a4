"""The programs of examples/: what they print, and that nothing is lost when they are killed in the midst of it."""
import collections
import datetime
import http.server
import json
import pathlib
import re
import subprocess
import threading
import time

import pytest
from froe import Running

PRIMES = {100_000: 9592, 3_000_000: 216816, 5_000_000: 348513}


class Example:
    def __init__(self, request, folder, patience):
        self.folder, self.patience = folder, patience
        self.wrapper = request.config.getoption("--wrapper").split()
        build = pathlib.Path(request.config.getoption("--build")).resolve()
        self.programs, self.froe = build / "examples", build / "src/cli/froe"
        self.started = []

    def start(self, name, *arguments):
        running = Running([*self.wrapper, str(self.programs / name), *map(str, arguments)], None, self.folder,
                          self.patience, cwd=self.folder)
        self.started.append(running)
        return running

    def run(self, name, *arguments, code=0):
        result = self.start(name, *arguments).wait()
        assert result.code == code, result
        return result

    def kill_after(self, lines, name, *arguments, of=""):
        """Starts it, and kills it when it has printed so many lines with `of` in them; what it had printed by then."""
        running = self.start(name, *arguments)
        deadline = time.monotonic() + 30 * self.patience
        while sum(of in line for line in running.out.read_text().split("\n")[:-1]) < lines:
            assert running.process.poll() is None and time.monotonic() < deadline, running.result()
            time.sleep(0.005)
        running.kill()
        return running.result().stdout

    def runs(self, store, workflow):
        """What the store's history has of the workflow's runs."""
        answer = subprocess.run([self.froe, "runs", "list", "--workflow", workflow, "--limit", "5000", "--json", "--store",
                                 f"sqlite:{self.folder / store}"], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.fixture
def example(request, folder, patience):
    example = Example(request, folder, patience)
    yield example
    for running in example.started:
        running.kill()


@pytest.mark.core
def test_hello(example):
    for _ in range(2):
        lines = example.run("hello", '{"name": "Ada"}').stdout.splitlines()
        assert re.fullmatch(r"greet \d+:0: greeting, attempt 1", lines[0])
        assert lines[1:] == ['{"hello": {"name": "Ada"}}']
    assert "input" in example.run("hello", "no JSON", code=1).stderr


# ---- fan_out ----

def ranges(output):
    return re.findall(r"^\d+ primes from (\d+) to \d+$", output, re.MULTILINE)


@pytest.mark.core
def test_fan_out(example):
    output = example.run("fan_out", 100_000).stdout
    assert len(ranges(output)) == len(set(ranges(output))) == 100
    assert output.splitlines()[-1] == f"{PRIMES[100_000]} primes in all"


@pytest.mark.core
def test_fan_out_killed(example):
    # Right after the spawn, before any checkpoint can be on disk; then twice when it is.
    outputs = [example.kill_after(1, "fan_out", 3_000_000, of="primes from")]
    outputs += [example.kill_after(1, "fan_out", 3_000_000, of="waiting") for _ in range(2)]
    outputs.append(example.run("fan_out", 3_000_000).stdout)
    assert all(output.startswith("going on with what an earlier start began\n") for output in outputs[1:])
    assert outputs[-1].splitlines()[-1] == f"{PRIMES[3_000_000]} primes in all"
    counted = collections.Counter(start for output in outputs for start in ranges(output))
    assert len(counted) == 100
    # Once its checkpoint is on disk, what was counted is not counted again, but for what was under way at a kill.
    later = collections.Counter(start for output in outputs[2:] for start in ranges(output))
    assert sum(later.values()) <= 100 + 20, later


@pytest.mark.core
def test_fan_out_makes_each_part_once(example):
    """Killed while it waits, again and again: no part has a second run, and none is run again once it has finished."""
    finished = set()
    for lines, of in ((1, "waiting"), (5, "primes from"), (10, "primes from"), (1, "waiting")):
        example.kill_after(lines, "fan_out", 5_000_000, of=of)
        runs = {run["run_id"]: run for run in example.runs("fan_out.db", "count_part")}
        assert len(runs) == 100
        now = {(name, run["ended_at"]) for name, run in runs.items() if run["state"] == "succeeded"}
        assert finished <= now
        finished = now
    assert finished
    assert example.run("fan_out", 5_000_000).stdout.splitlines()[-1] == f"{PRIMES[5_000_000]} primes in all"
    runs = example.runs("fan_out.db", "count_part")
    assert len(runs) == 100 and {run["state"] for run in runs} == {"succeeded"}
    assert finished <= {(run["run_id"], run["ended_at"]) for run in runs}


# ---- cron ----

def ticks(output):
    found = [re.fullmatch(r"(.{19}) UTC: run (\d+:0)", line) for line in output.splitlines()]
    return [(datetime.datetime.fromisoformat(match[1]), match[2]) for match in found]


def test_cron(example):
    first = ticks(example.kill_after(2, "cron", "* * * * * *", "Europe/Berlin"))
    then = ticks(example.run("cron", "* * * * * *", "Europe/Berlin", 3).stdout)
    assert len(then) == 3
    runs = [run for _, run in first + then]
    # One tick a second, through the kill too; only a run that it hit is run again, under its own name.
    assert len(runs) - len(set(runs)) <= 1
    times = [time for time, _ in then]
    assert datetime.timedelta(seconds=1) <= times[-1] - times[0] <= datetime.timedelta(seconds=4 * example.patience)


def test_cron_is_refused_with_the_place(example):
    assert "cron: " in example.run("cron", "0 0 31 2 *", "UTC", code=1).stderr
    assert "Mars/Olympus" in example.run("cron", "0 0 * * *", "Mars/Olympus", code=1).stderr


# ---- crawl ----

PAGES = 12


class Site(http.server.ThreadingHTTPServer):
    """A site whose pages link to each other, round in circles, and to other sites. Page 5 fails twice, page 7 asks to be left
    alone for a second once, page 12 is not there."""
    daemon_threads = True

    def __init__(self, host, port, sites):
        self.host, self.sites, self.asked, self.at_once, self.most_at_once = host, sites, [], 0, 0
        self.lock = threading.Lock()
        super().__init__((host, port), Page)
        self.url = f"http://{host}:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site, page = self.server, int(self.path[1:] or 0)
        with site.lock:
            before = sum(asked == page for _, asked in site.asked)
            site.asked.append((time.monotonic(), page))
            site.at_once += 1
            site.most_at_once = max(site.most_at_once, site.at_once)
        time.sleep(0.03)
        with site.lock:
            site.at_once -= 1
        status = 404 if page >= PAGES else 500 if page == 5 and before < 2 else 503 if page == 7 and before < 1 else 200
        links = ["/", f"{min(2 * page + 1, PAGES)}", f"/{min(2 * page + 2, PAGES)}#top",
                 *(f"{other.url}{min(page + 1, PAGES)}" for other in site.sites)]
        body = "".join(f'<p><a class="x" href="{link}">on</a>' for link in links).encode() if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def sites():
    sites = []
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        sites.append(Site(host, sites[0].server_address[1] if sites else 0, sites))
    yield sites
    for site in sites:
        site.shutdown()
        site.server_close()


def saved(folder):
    return {path.name for path in folder.iterdir() if path.name.startswith("http") and path.suffix != ".part"}


def all_pages(sites):
    return {f"http%3A%2F%2F{site.host}%3A{site.server_address[1]}%2F{page or ''}" for site in sites for page in range(PAGES)}


def test_crawl(example, sites):
    output = example.run("crawl", *(site.url for site in sites)).stdout
    assert saved(example.folder) == all_pages(sites)
    for site in sites:
        assert site.most_at_once <= 2
        times = sorted(when for when, _ in site.asked)
        # Five in each second of the clock, so at most ten in any second, and some for requests that were under way.
        assert max(sum(begin <= when < begin + 1 for when in times) for begin in times) <= 10 + 2
        # No page is fetched again that is there, unless it was saved in between a look at the file and the spawn.
        asked = collections.Counter(page for _, page in site.asked if page < PAGES)
        assert asked[5] >= 3 and asked[7] >= 2
        assert PAGES + 3 <= sum(asked.values()) <= PAGES + 4, asked
        assert len(re.findall(rf"^{re.escape(site.url)}5: status 500, again in \d\.\d s$", output, re.MULTILINE)) == asked[5] - 1
        assert f"{site.url}7: the host asks to wait, again in 1.0 s\n" in output
        assert f"{site.url}12: no such page\n" in output


def test_crawl_killed(example, sites):
    for lines in (3, 10, 10):
        example.kill_after(lines, "crawl", *(site.url for site in sites))
    example.run("crawl", *(site.url for site in sites))
    assert saved(example.folder) == all_pages(sites)

"""What the benchmarks share: an S3 server, clients that are measured, the machine's figures, medians, cells of a table."""
import json
import os
import platform
import signal
import ssl
import statistics
import subprocess
import time
import urllib.request

TIMEOUT_S = 600  # of a client


class Failed(Exception):
    """A run did not do what it should."""


class Mock:
    """A froe-s3mock process of its own, spoken to through its admin endpoints."""

    def __init__(self, program, folder, tls, *options):
        self.scheme = "https" if tls else "http"
        port_file = folder / f"port-{self.scheme}"
        port_file.unlink(missing_ok=True)
        command = [program, "--port-file", port_file, *options]
        self.context = None
        if tls:
            command += ["--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem"]
            self.context = ssl.create_default_context(cafile=folder / "cert.pem")
        self.log = open(folder / f"mock-{self.scheme}.log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while not port_file.exists() or not port_file.read_text().strip():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"froe-s3mock does not start; see {self.log.name}")
            time.sleep(0.02)
        self.url = f"{self.scheme}://127.0.0.1:{port_file.read_text().strip()}"

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"{self.url}/_mock/{path}", method=method)
        with urllib.request.urlopen(request, timeout=120, context=self.context) as answer:
            return json.load(answer)

    def fill(self, prefix, counts, size):
        """So many objects in each of the buckets <prefix>01, <prefix>02 ..."""
        self.ask("reset?what=all", "POST")
        for i, count in enumerate(counts):
            self.ask(f"seed?bucket={prefix}{i + 1:02d}&count={count}&size={size}", "POST")
        self.ask("reset?what=stats", "POST")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()


def peak_kib(pid):
    """VmHWM. ru_maxrss is of no use here: it counts what this very process held before the program was executed."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def descendants(root):
    """The process and all below it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                    children.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
            except OSError:
                pass
    todo = [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        yield pid


def run_client(command, env, folder, name, stdout=None):
    """Runs a client to its end. The peak is read while it runs: it only ever grows."""
    out, err = stdout or folder / f"{name}.out", folder / f"{name}.err"
    with open(out, "wb") as out_file, open(err, "wb") as err_file:
        began = time.monotonic()
        process = subprocess.Popen(command, env=env, stdout=out_file, stderr=err_file, stdin=subprocess.DEVNULL)
        peak = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, peak_kib(process.pid))
            if time.monotonic() - began > TIMEOUT_S:
                process.kill()
            time.sleep(0.01)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{name}: exit status {process.returncode}; see {err}\n{err.read_text(errors='replace')[-2000:]}")
    return {
        "wall_seconds": wall,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_kib": peak,
        "context_switches": usage.ru_nvcsw + usage.ru_nivcsw,
    }, "" if stdout else out.read_text(), err.read_text()


def client_environment(mock, folder):
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": mock.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    if mock.scheme == "https":
        env["AWS_CA_BUNDLE"] = str(folder / "cert.pem")
    return env


def fdatasync_us(folder, rest_s=0):
    """Median time of an fdatasync after an append of 4 KiB, where the store lies; a disk that has rested takes longer."""
    path, times = folder / "fdatasync", []
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        for _ in range(200):
            time.sleep(rest_s)
            os.write(fd, b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(fd)
            times.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(times)


def machine(folder):
    def first(path, key):
        with open(path, encoding="utf-8", errors="replace") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    return {
        "cpu": first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_mib": int(first("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "load_before": os.getloadavg()[0],
        "fdatasync_p50_us": fdatasync_us(folder),
    }


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def cell(value, form, scale=1.0):
    if value is None:
        return "-"
    low, high = value["min"] * scale, value["max"] * scale
    text = format(value["median"] * scale, form)
    return text if low == high else f"{text} ({low:{form}}-{high:{form}})"


def print_rows(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def print_machine(one):
    print(f"machine: {one['cpu']}, {one['cores']} cores, {one['memory_mib']} MiB, Linux {one['kernel']}, "
          f"fdatasync p50 {one['fdatasync_p50_us']:.0f} us, load before {one['load_before']:.1f}")


def report_of(froe, about):
    """What a benchmark's report begins with."""
    version = subprocess.run([froe, "version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"schema": 1, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "version": version, "machine": about}

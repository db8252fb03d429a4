"""What the benchmarks share: the machine's figures, medians, cells of a table."""
import os
import platform
import statistics
import time


class Failed(Exception):
    """A run did not do what it should."""


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

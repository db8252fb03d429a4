"""Several workers on one PostgreSQL when nothing goes wrong: caps, turns, ticks, what an idle fleet costs, what can be seen."""
import collections
import json
import time

import pytest
from fleet import EVERY_SECOND

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(180)]


@pytest.mark.core
@pytest.mark.needs("strict_auth")  # the fake and Ceph: moto is slow
def test_four_workers(server, fleet, patience):
    """Uneven buckets: each object once, caps over all workers, every bucket in its turn, every worker at work."""
    small = server.name != "fake" or patience > 1
    sizes = {"a": 400, "b": 120, "c": 40, "d": 10} if small else {"a": 1200, "b": 300, "c": 60, "d": 10}
    fleet.fill(sizes)
    # No worker alone can use up a bucket's cap. One that the machine lets stand still has its programs killed after a sixth of
    # its lease.
    fleet.options |= {"max_runs_per_bucket": 12, "slots": 5, "lease": "15s"}
    fleet.takes = ["40"]
    if "faults" in server.can:
        server.misbehave("latency op=get ms=20")  # so that GETs meet
    fleet.start(4)
    fleet.until_drained()
    fleet.stop()
    begun, ended = fleet.begun(), fleet.ended()
    fleet.nothing_lost()
    fleet.begun_once()
    fleet.caps_held()
    fleet.counted()
    by_worker = collections.Counter(line.worker for line in ended)
    print(f"{server.name}: {len(ended)} objects, by worker {dict(by_worker)}, "
          f"{max(line.in_bucket for line in begun)} of one bucket at once at most")
    assert len(by_worker) == 4 and min(by_worker.values()) > len(ended) / 20
    # When the last of a small bucket was done, the giant was not: all four had a share from the beginning.
    order = [line.bucket[-1] for line in ended]
    for name in "cd":
        last = max(i for i, bucket in enumerate(order) if bucket == name)
        giants = order[:last].count("a")
        assert giants < sizes["a"] * 0.75, f"{giants} of {sizes['a']} were done before the last of the {sizes[name]} in {name}"
    if "faults" in server.can:
        server.behave()
        peaks = {bucket: server.stats()["buckets"][bucket]["gets_peak"] for bucket in fleet.buckets()}
        assert max(peaks.values()) <= 12, f"GETs at once: {peaks}"


def test_a_listing_without_room_lets_others_go_first(fake, fleet):
    """A bucket whose look-ahead is full has a poller only while it looks whether there is room."""
    fleet.fill({"a": 400})
    fleet.options |= {"max_pollers": 1, "look_ahead": 40, "slots": 4, "lease": "15s"}
    fleet.takes = ["20"]
    fleet.start(2)
    fleet.until_ended(60)  # its listing has been put back more than once
    fleet.add_bucket("b", 5)
    fleet.until("the new one is drained", lambda: not fake.keys(fleet.froe.prefix + "b"))
    left = len(fake.keys(fleet.froe.prefix + "a"))
    assert left > 150, f"{left} of the first one are left"
    fleet.stop()
    fleet.begun_once()


def test_a_buckets_own_cap(fake, fleet, folder):
    """A rule's cap is the whole fleet's too, and beside it the general one holds."""
    fleet.fill({"a": 120, "b": 200})
    config = folder / "froe.yaml"
    config.write_text(json.dumps({"rules": [{"buckets": fleet.froe.prefix + "a", "max_runs_per_bucket": 3}, {}]}))
    fleet.options |= {"config": config, "max_runs_per_bucket": 9, "slots": 5, "lease": "15s"}
    fleet.takes = ["60"]
    fleet.start(3)
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.begun_once()
    fleet.caps_held()
    most = {bucket: max(line.in_bucket for line in fleet.begun() if line.bucket == bucket) for bucket in fleet.buckets()}
    assert most[fleet.froe.prefix + "a"] == 3, most
    assert len({line.worker for line in fleet.begun() if line.bucket == fleet.froe.prefix + "a"}) > 1


def test_once_together(fake, fleet):
    """Four that drain once and end: each ends when there is nothing left, not before."""
    fleet.fill({"a": 400, "b": 80})
    fleet.takes = ["30"]
    fleet.options |= {"once": True}
    fleet.start(4)
    results = [worker.running.wait(60) for worker in fleet.workers]
    assert [result.code for result in results] == [0] * 4, results
    fleet.nothing_lost()
    fleet.caps_held()
    assert len(fleet.ended()) == len(fleet.everything)
    last = max(line.ms for line in fleet.ended()) / 1000
    for result, worker in zip(results, fleet.workers):
        left = last - (worker.running.began + result.seconds)
        assert left < 0.5, f"{worker.name} ended {left:.1f} s before the last object was done"


def test_rolling_restart_to_another_cap(fake, fleet):
    """Limits belong to the workflow's name: from the first worker with the new one on it holds for all."""
    fleet.fill({"a": 700})
    bucket = fleet.froe.prefix + "a"
    fleet.options |= {"max_runs_per_bucket": 20, "slots": 20, "lease": "15s"}
    fleet.takes = ["150"]
    fleet.start(4)
    fleet.until("the old cap is made use of", lambda: any(line.in_bucket == 20 for line in fleet.begun()))
    fleet.until_ended(60)
    in_force = None
    for worker in fleet.workers:
        worker.stop()
        said = len(worker.log())
        worker.start(max_runs_per_bucket=5)
        fleet.until("it works", lambda: any(line["message"] == "draining" for line in worker.log()[said:]))  # noqa: B023
        in_force = in_force or time.monotonic() * 1000
        fleet.until_ended(20)
    restarted = time.monotonic() * 1000
    # And back, which takes effect at once: the rest goes faster.
    for worker in fleet.workers:
        worker.stop()
        worker.start()
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.caps_held()
    assert len(fleet.begun()) == len(fleet.everything)
    # How many were live at each begin, from the record: nothing was killed.
    now, settled = 0, in_force
    live = []
    for line in fleet.lines():
        now += 1 if line.what == "begin" else -1
        if line.what == "begin" and line.bucket == bucket:
            live.append((line.ms, now))
    for ms, n in live:
        if in_force < ms < restarted and n > 5:
            settled = ms
    after = [n for ms, n in live if settled < ms < restarted]
    print(f"cap 20 to 5: the last above the new cap began {settled - in_force:.0f} ms after the first new worker, then at most {max(after)}")
    assert settled - in_force < 1500 and max(after) <= 5


def test_ticks(fake, fleet):
    """A cron that fires each second, four workers, some of which end and come back: each tick makes one run, or is refused as one is
    still running."""
    fleet.fill({"a": 5})
    before = fake.stats()["requests"].get("list-buckets", 0)
    starts = len(fleet.start(4))
    for i in range(3):  # the store remembers 16 ticks: all of them must be there in the end, on a slow machine, too
        time.sleep(2.5)
        fleet.workers[i].kill() if i % 2 else fleet.workers[i].stop()
        fleet.workers[i].start()
        starts += 1
    time.sleep(2)
    fleet.stop()
    passes = fake.stats()["requests"]["list-buckets"] - before
    ticks = [int(at) // 1000000 for [at] in fleet.postgres.sql(f"SELECT at FROM {fleet.schema}.tick ORDER BY at")]
    assert len(ticks) >= 9 and ticks == list(range(ticks[0], ticks[-1] + 1)), f"ticks are missing: {ticks}"
    [workflow] = [one for one in fleet.json_lines("workflows", "list") if one["workflow"] == "fetch_s3_buckets"]
    print(f"{len(ticks)} ticks and {starts} starts: {workflow['done']} passes, {workflow['cancelled']} refused, {passes} listings of buckets")
    assert workflow["done"] + workflow["cancelled"] == len(ticks) + starts
    by_cron = fleet.json_lines("runs", "list", "--meta", f"froe__cron={EVERY_SECOND}")
    assert by_cron and {run["workflow"] for run in by_cron} == {"fetch_s3_buckets"}
    # One that was killed in the midst of a pass leaves it to another, who makes it once more.
    assert workflow["done"] <= passes <= workflow["done"] + 2


def test_what_can_be_seen(fake, fleet):
    """Any host can ask about the whole fleet while it works, and act on it."""
    fleet.fill({"a": 300, "b": 20})
    a, b = (fleet.froe.prefix + name for name in "ab")
    fleet.options |= {"max_runs_per_bucket": 6}
    fleet.takes = ["100", "*00007", "6000"]
    fleet.start(3)
    fleet.until_ended(60)
    [status_a, status_b] = [fleet.status()[bucket] for bucket in (a, b)]
    assert status_a["backlog"] + status_a["running"] > 100 and status_a["listing"] == "complete"
    assert status_b["done"] + status_b["backlog"] == 20
    workers = {one["worker"]: one for one in fleet.json_lines("workers")}
    assert set(workers) == {"w0", "w1", "w2"} and all(one["slots"] == 10 for one in workers.values())
    assert sum(one["leased"] for one in workers.values()) > 0
    groups = {one["group"]: one for one in fleet.json_lines("workflows", "list", "--groups") if one["workflow"] == "process_object"}
    assert 1 <= groups[a]["admitted"] <= groups[a]["limit"] == 6
    # One object: who has it, where it was, and what becomes of it.
    began = time.monotonic()
    [run] = fleet.json_lines("runs", "list", "--bucket", a, "--key", "object-00000007")
    assert time.monotonic() - began < 1 * fleet.froe.patience
    assert run["state"] == "running" and run["worker"] in workers
    by_record = [line.worker for line in fleet.begun() if (line.bucket, line.key) == (a, "object-00000007")]
    assert by_record == [run["worker"]]
    # Cancelled from here, on whichever host it is: its program ends, and it stays in its bucket.
    other = fleet.until("another one of them runs", lambda: [
        one for one in fleet.json_lines("runs", "list", "--bucket", b, "--key", "object-00000007") if one["state"] == "running"])[0]
    fleet.ask("runs", "cancel", other["run_id"])
    fleet.until("it is cancelled", lambda: fleet.json_lines("runs", "show", other["run_id"])[0]["state"] == "cancelled")
    # A paused workflow starts nothing, on no host; what runs goes on.
    fleet.ask("workflows", "pause", "process_object")
    time.sleep(0.5)
    fleet.until("what was running has ended", lambda: not any(fleet.in_hand(worker) for worker in fleet.workers))
    ended = fleet.number_ended()
    time.sleep(1)
    assert fleet.number_ended() == ended and not any(fleet.in_hand(worker) for worker in fleet.workers)
    assert [one["paused"] for one in fleet.json_lines("workflows", "list") if one["workflow"] == "process_object"] == [True]
    fleet.ask("workflows", "resume", "process_object")
    fleet.until_drained()
    fleet.stop()
    assert fleet.json_lines("workers") == []
    runs = fleet.json_lines("runs", "list", "--workflow", "process_object", "--state", "succeeded", "--limit", "1000")
    assert {(run["bucket"], run["key"]) for run in runs} == fleet.everything
    # The history says the same of who did it as the programs do.
    did = {(line.bucket, line.key): line.worker for line in fleet.ended()}
    assert {(run["bucket"], run["key"]): run["worker"] for run in runs} == did


def test_an_idle_fleet_costs_next_to_nothing(fake, fleet):
    """Ten workers with nothing to do, as they are by default."""
    for name in ("cron", "lease"):
        del fleet.options[name]
    fleet.fill({"a": 3})
    fleet.start(10)
    fleet.until_drained()
    time.sleep(12)  # the excitement of the beginning is over
    postgres, seconds = fleet.postgres, 20
    if time.time() % 60 > 35:  # the cron's tick of the minute is work, and what follows it
        time.sleep(75 - time.time() % 60)
    began, statements, (transactions, wal) = time.monotonic(), postgres.statements(), postgres.counters()
    time.sleep(seconds)
    took = time.monotonic() - began
    statements = (postgres.statements() - statements) / took
    (after, wal_after) = postgres.counters()
    print(f"ten idle workers: {statements:.2f} statements and {(after - transactions) / took:.2f} transactions a second, "
          f"{(wal_after - wal) / took:.0f} bytes of WAL a second")
    fleet.stop()
    assert statements < 10


def bytes_of_tables(fleet):
    [[n]] = fleet.postgres.sql("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
                               f"AND relnamespace = '{fleet.schema}'::regnamespace")
    return int(n)


def rows_written(fleet):
    [[n]] = fleet.postgres.sql(f"SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = '{fleet.schema}'")
    return int(n)


def test_what_objects_cost_the_database(fake, fleet):
    """Bytes for each that is queued and for each that is kept in the history; rows, statements, log and time to drain them."""
    n = 20000
    fleet.options |= {"discard": True, "look_ahead": 100000, "lease": "30s", "max_runs_per_bucket": 0, "slots": 40}
    fleet.start(1)
    fleet.until("workflows are known", lambda: "process_object" in fleet.ask("workflows", "list", "--json"))
    fleet.ask("workflows", "pause", "process_object")
    empty = bytes_of_tables(fleet)
    for i, part in enumerate((12000, 6000, 2000)):
        # Keys as long as in real life: bucket and key are 67 bytes, what the benchmarks use, too.
        prefix = "2026/11/22/camera-7/take/".ljust(67 - 8 - 1 - len(fleet.froe.prefix + "a"), "x")
        fleet.server.seed(fleet.froe.prefix + "abc"[i], part, prefix=prefix)
    backlog = lambda: sum(one["backlog"] for one in fleet.json_lines("workflows", "list", "--groups")  # noqa: E731
                          if one["workflow"] == "process_object")
    fleet.until("all is listed", lambda: backlog() == n)
    queued = (bytes_of_tables(fleet) - empty) / n
    fleet.start(2)
    time.sleep(1)
    postgres = fleet.postgres
    rows, statements, (transactions, wal), cpu = rows_written(fleet), postgres.statements(), postgres.counters(), postgres.cpu_seconds()
    began = time.monotonic()
    fleet.ask("workflows", "resume", "process_object")
    fleet.until("all is drained", lambda: not any(fleet.server.keys(fleet.froe.prefix + name) for name in "abc"), timeout=120)
    took, cpu = time.monotonic() - began, postgres.cpu_seconds() - cpu
    time.sleep(1.5)  # the server's counters come a little later
    rows, statements = rows_written(fleet) - rows, postgres.statements() - statements
    transactions, wal = (after - before for after, before in zip(postgres.counters(), (transactions, wal)))
    fleet.stop()
    kept = (bytes_of_tables(fleet) - empty) / n
    [[batches]] = postgres.sql(f"SELECT max(number) FROM {fleet.schema}.batch")
    print(f"{queued:.0f} bytes for each queued object; {kept:.0f} for each in the history, with room in its pages to be used again\n"
          f"drained {n / took:.0f}/s by three workers, {n / int(batches):.0f} objects a batch; for 1000 objects {rows * 1000 / n:.0f} rows written, "
          f"{statements * 1000 / n:.0f} statements, {transactions * 1000 / n:.0f} transactions, {wal * 1000 / n / 1024:.0f} KiB of log, "
          f"{cpu * 1e6 / n:.0f} ms of CPU")
    # The slower the machine the smaller are the batches, as they are made every 20 ms.
    assert queued < 100 and kept < 200 and rows * 1000 / n < 1000 and wal * 1000 / n < 300 * 1024

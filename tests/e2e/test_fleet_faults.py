"""Several workers on one PostgreSQL when much goes wrong: workers are killed and frozen, the database is restarted and frozen, the
wire between is cut. Whatever happens: nothing is deleted that was not processed, and nothing is lost."""
import os
import random
import time

import pytest
from fleet import NEVER, Relay, Worker
from froe import STORE

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]


def some_luck():
    seed = int(os.environ.get("SEED") or time.time_ns())
    print(f"SEED={seed}")
    return random.Random(seed)


@pytest.mark.core
@pytest.mark.needs("strict_auth")  # the fake and Ceph
def test_workers_are_killed_in_rotation(server, fleet, patience):
    rng = some_luck()
    fake = server.name == "fake"
    kills, sizes = (32, {"a": 900, "b": 250, "c": 60, "d": 10}) if fake else (8, {"a": 300, "b": 90, "c": 30, "d": 5})
    if patience > 1:
        kills = 8
    fleet.fill(sizes)
    fleet.options |= {"lease": "2s" if patience == 1 else "4s"}  # programs of who was killed must be gone by then, on a busy machine, too
    fleet.takes = ["30", "*7", "400"]
    fleet.start(4)
    fleet.until_ended(1)
    for kill in range(kills):
        worker = fleet.workers[kill % 4]
        time.sleep(rng.random() * 0.7 * patience)
        assert worker.alive(), worker.running.result()
        worker.kill()
        fleet.nothing_deleted_unprocessed()
        if rng.random() < 0.3:  # the others have to find out
            time.sleep(2.4 * patience)
        worker.start()
        fleet.keep_busy("a")
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.caps_held()
    begun = len(fleet.begun())
    print(f"{server.name}: {len(fleet.everything)} objects, {kills} kills, {begun} begun")
    # Only what was running at a kill ran again.
    assert begun <= len(fleet.everything) + kills * fleet.options["slots"]


@pytest.mark.parametrize("programs", [True, False], ids=["with its programs", "alone"])
def test_a_zombie(fake, fleet, programs):
    """A worker is frozen for longer than its lease and comes back when others have done its work and somebody has put the same
    objects there again, byte for byte: it deletes none of them before it, or another, has processed them anew."""
    fleet.options |= {"slots": 4, "max_runs_per_bucket": 12}
    fleet.takes = ["300", "*3", "1200"]
    fleet.add_bucket("a", 120)
    bucket = fleet.froe.prefix + "a"
    # It makes no ticks: when it comes back nothing is listed.
    zombie = Worker(fleet, "zombie").start(cron=NEVER)
    fleet.workers.append(zombie)
    others = fleet.start(2)[1:]
    fleet.until("the zombie has something in hand", lambda: len(fleet.in_hand(zombie)) >= 2)
    zombie.freeze(programs)
    in_hand = fleet.in_hand(zombie)
    frozen = time.monotonic()
    fleet.until("others have taken its work over and all is drained",
                lambda: not fleet.left() and not any(fleet.in_hand(other) for other in others))
    assert time.monotonic() - frozen > 2, "the lease had not ended"
    fleet.nothing_deleted_unprocessed()
    for other in others:
        other.stop()
    again = {(b, key) for b, key in in_hand if b == bucket}
    fleet.server.raw.fill(bucket, ((key, b"x") for _, key in again))
    back = time.monotonic() * 1000
    said = len(zombie.log())
    zombie.thaw()
    time.sleep(4)
    anew = {line.pid for line in fleet.begun() if line.ms > back}
    processed = {(line.bucket, line.key) for line in fleet.ended() if line.pid in anew}
    gone = again - fleet.left()
    assert gone <= processed, f"the zombie deleted {sorted(gone - processed)} without having processed them anew"
    assert zombie.alive(), zombie.running.result()
    assert any(line["level"] == "error" for line in zombie.log()[said:]), "it does not say that it lost its leases"
    others[0].start()
    fleet.until("those are drained, too", lambda: not fleet.left(), all_alive=False)
    fleet.until("nothing runs", lambda: not any(fleet.in_hand(worker) for worker in fleet.workers), all_alive=False)
    fleet.stop()
    assert fleet.parked() == []
    fleet.counted(len(again))


@pytest.mark.core
def test_postgres_is_restarted_under_load(fake, fleet, patience):
    fleet.fill({"a": 2400, "b": 800})  # enough for all the restarts
    fleet.options |= {"lease": f"{int(15 * patience)}s"}  # a busy machine takes some seconds for a restart
    fleet.takes = ["30"]
    fleet.start(3)
    for mode, away in (("fast", 0), ("immediate", 0.5), ("fast", 1), ("immediate", 0)):
        fleet.until_ended(80)
        fleet.postgres.stop(mode)
        time.sleep(away)
        fleet.postgres.start()
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.caps_held()
    fleet.counted()
    # Away for less than a lease: nobody lost anything.
    fleet.begun_once()


@pytest.mark.parametrize("how", ["frozen", "stopped"])
def test_postgres_is_away_for_longer_than_a_lease(fake, fleet, how):
    """By the time at which others might have got the leases, had the database been there for them, all have stopped."""
    fleet.fill({"a": 400})
    lease = 2
    fleet.takes = ["100", "*[05]5", "5000"]
    fleet.options |= {"max_runs_per_bucket": 20}
    fleet.start(3)
    fleet.until_ended(60)
    slow = lambda: any(key.endswith(("05", "55")) for worker in fleet.workers for _, key in fleet.in_hand(worker))  # noqa: E731
    fleet.until("a slow one runs", slow)
    if how == "frozen":
        fleet.postgres.freeze()
    else:
        fleet.postgres.stop("fast")
    gone = time.monotonic()
    time.sleep(lease)
    deletes = fake.stats()["buckets"][fleet.froe.prefix + "a"]["deletes"]
    began = len(fleet.begun())
    fleet.nothing_deleted_unprocessed()
    time.sleep(2.5)
    assert fake.stats()["buckets"][fleet.froe.prefix + "a"]["deletes"] == deletes, "something was deleted after the leases"
    assert len(fleet.begun()) == began, "something was begun after the leases"
    for worker in fleet.workers:
        assert not any(pid != worker.pid and b"witness" in command(pid) for pid in worker.tree()), "a program outlived the leases"
        assert any(line["level"] == "error" for line in worker.log()), "it does not say why it stopped"
    if how == "frozen":
        fleet.postgres.thaw()
    else:
        fleet.postgres.start()
    back = time.monotonic()
    fleet.until_ended(1)
    print(f"{how} for {back - gone:.1f} s; work again {time.monotonic() - back:.1f} s later")
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.caps_held()
    fleet.counted()


def command(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[0]
    except OSError:
        return b""


def test_one_worker_is_cut_off(fake, fleet):
    """The wire between one worker and the database: it has stopped before the others take over, so no object is with two programs at
    once; and what it had said into the dead wire comes to nothing."""
    fleet.fill({"a": 700})
    fleet.options |= {"lease": "3s", "max_runs_per_bucket": 20, "slots": 6}
    fleet.takes = ["50", "*[05]5", "6000"]
    relay = Relay(fleet.postgres.port)
    try:
        lonely = Worker(fleet, "lonely", fleet.postgres.uri(fleet.schema, relay.port)).start()
        fleet.workers.append(lonely)
        fleet.start(2)

        def slow_ones():
            return {(bucket, key) for bucket, key in fleet.in_hand(lonely) if key.endswith(("05", "55"))}
        fleet.until("it has slow work in hand", slow_ones)
        relay.cut()
        in_hand = slow_ones()
        cut = time.monotonic() * 1000
        fleet.until("others have begun its work", lambda: in_hand <= {(line.bucket, line.key) for line in fleet.begun()
                                                                      if line.worker != "lonely"})
        fleet.nothing_deleted_unprocessed()
        latest = max(line.ms for line in fleet.begun() if line.worker == "lonely")
        assert latest - cut < 3000, "it began something after its lease"
        relay.join()
        joined = time.monotonic() * 1000

        def works_again():
            fleet.keep_busy("a")
            return any(line.worker == "lonely" and line.ms > joined for line in fleet.begun())
        fleet.until("it works again", works_again)
        fleet.takes = ["20"]
        fleet.until_drained()
        fleet.stop()
    finally:
        relay.close()
    fleet.nothing_lost()
    fleet.caps_held()
    fleet.counted()


def test_a_short_pause_is_no_failure(fake, fleet):
    """Who stands still for a good part of its lease finds its programs killed. That is not their objects' fault."""
    fleet.options |= {"lease": "12s", "retries": 0}
    fleet.takes = ["4000"]
    fleet.fill({"a": 8})
    [worker] = fleet.start(1)
    fleet.until("it works", lambda: len(fleet.in_hand(worker)) == 4)
    worker.freeze(programs=False)
    fleet.until("its programs were killed", lambda: not fleet.in_hand(worker))
    worker.thaw()
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    assert fleet.parked() == [] and len(fleet.begun()) == 12
    assert not any(line["message"] == "attempt failed" for line in worker.log())


def test_connections_are_broken(fake, fleet):
    """As by a failing wire or an impatient firewall: connections end in the middle of whatever they are at."""
    rng = some_luck()
    fleet.fill({"a": 900, "b": 300})
    fleet.options |= {"lease": "15s"}
    fleet.takes = ["20"]
    fleet.start(3)
    fleet.until_ended(20)
    for _ in range(25):
        time.sleep(rng.random() * 0.4)
        fleet.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'froe' AND random() < 0.5")
        fleet.nothing_deleted_unprocessed()
    fleet.until_drained()
    fleet.stop()
    fleet.nothing_lost()
    fleet.caps_held()
    fleet.counted()
    fleet.begun_once()


def test_the_disk_of_postgres_is_full(fake, fleet):
    """As PostgreSQL says it when the volume of its data has no room: froe ends, and the next one goes on."""
    froe, bucket, store = fleet.froe, fleet.froe.prefix + "a", ("--store", fleet.store)
    fake.make_bucket(bucket)
    froe.once(*store, program=["true"])  # makes the tables
    for i in range(10):
        fake.raw.put(bucket, f"k{i}", b"x")
    fleet.postgres.sql(f"CREATE FUNCTION {fleet.schema}.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                       "RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; "
                       f"CREATE TRIGGER no_room BEFORE INSERT ON {fleet.schema}.page EXECUTE FUNCTION {fleet.schema}.no_room()")
    result = froe.once(*store, program=["true"], expect=STORE)
    assert "No space left on device (53100)" in result.stderr, result
    assert len(fake.keys(bucket)) == 10
    fleet.postgres.sql(f"DROP FUNCTION {fleet.schema}.no_room CASCADE")
    froe.once(*store, program=["true"])
    assert fake.keys(bucket) == []

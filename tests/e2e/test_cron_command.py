"""froe cron: what it prints, and what people get wrong. Needs no server."""
import datetime
import json
import zoneinfo

import pytest
from froe import DRAINED, USAGE


def cron(froe, *args, **more):
    return froe.run("cron", *args, plain=True, timeout=20, **more)


def firings(froe, *args):
    result = cron(froe, *args, "--json")
    assert result.code == DRAINED, result
    assert result.stderr == ""
    [line] = result.stdout.splitlines()
    return json.loads(line)["firings"]


@pytest.mark.core
def test_for_people(froe):
    result = cron(froe, "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28", "--count", 3)
    assert result.code == DRAINED, result
    assert result.stdout == ("Sat 2026-03-28 02:30:00 +01:00   2026-03-28T01:30:00Z\n"
                             "Sun 2026-03-29 03:00:00 +02:00   2026-03-29T01:00:00Z\n"
                             "Mon 2026-03-30 02:30:00 +02:00   2026-03-30T00:30:00Z\n")
    assert result.stderr == ""


def test_json(froe):
    result = cron(froe, "--json", "TZ=America/St_Johns  0 12 * * MON", "--from", "2026-10-26", "--count=2")
    assert result.code == DRAINED, result
    assert json.loads(result.stdout) == {
        "expression": "TZ=America/St_Johns  0 12 * * MON", "zone": "America/St_Johns", "firings": [
            {"local": "2026-10-26T12:00:00-02:30", "utc": "2026-10-26T14:30:00Z"},
            {"local": "2026-11-02T12:00:00-03:30", "utc": "2026-11-02T15:30:00Z"}]}


def test_from_now_on_in_utc(froe):
    """Five, whatever the zone of the process may be."""
    before = datetime.datetime.now(datetime.UTC)
    found = [datetime.datetime.fromisoformat(firing["utc"]) for firing in firings(froe, "* * * * *")]
    after = datetime.datetime.now(datetime.UTC)
    assert len(found) == 5
    assert before < found[0] <= after + datetime.timedelta(minutes=1)
    assert all(b - a == datetime.timedelta(minutes=1) for a, b in zip(found, found[1:]))
    assert firings(froe, "@yearly")[0]["local"].endswith("-01-01T00:00:00+00:00")


def test_against_python(froe):
    """A wildcard in the hour follows the clock on the wall, so each hour of two years that has a minute 45 fires."""
    zone = zoneinfo.ZoneInfo("Australia/Lord_Howe")
    found = firings(froe, "45 */6 * * *", "--tz", zone.key, "--from", "2026-01-01T00:00:00Z", "--count", 3000)
    at, expected = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), []
    while len(expected) < 3000:
        local = at.astimezone(zone)
        if local.minute == 45 and local.hour % 6 == 0:
            expected.append({"local": local.isoformat(), "utc": at.isoformat().replace("+00:00", "Z")})
        at += datetime.timedelta(minutes=15)
    assert found == expected


@pytest.mark.parametrize("time, utc", [
    ("2026-03-29T00:30:00Z", "2026-03-29T00:30:00Z"),
    ("2026-03-29 00:30Z", "2026-03-29T00:30:00Z"),
    ("2026-03-29T00:30:00.5Z", "2026-03-29T00:30:01Z"),
    ("2026-03-29", "2026-03-28T23:00:00Z"),
    ("2026-03-29 01:30", "2026-03-29T00:30:00Z"),
    ("2026-03-29T01:30:15", "2026-03-29T00:30:15Z"),
    ("2026-03-29 02:30", "2026-03-29T01:00:00Z"),  # skipped
    ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),  # passed twice
    ("1890-01-01 00:53:28", "1890-01-01T00:00:00Z"),
])
def test_from(froe, time, utc):
    assert firings(froe, "* * * * * *", "--tz", "Europe/Berlin", "--from", time, "--count", 1)[0]["utc"] == utc


def test_offset_with_seconds(froe):
    assert firings(froe, "0 0 * * *", "--tz", "Europe/Berlin", "--from", "1890-01-01", "--count", 1) == [
        {"local": "1890-01-01T00:00:00+00:53:28", "utc": "1889-12-31T23:06:32Z"}]


@pytest.mark.parametrize("words, culprits", [
    (["0 24 * * *"], ["0 24 * * *", "column 3, hour", "24"]),
    (["TZ=UTC 0 24 * * *"], ["column 10, hour"]),
    (["* * * *"], ["5 fields", "has 4"]),
    (["0 0 30 2 *"], ["never fires"]),
    (["@reboot"], ["@reboot"]),
    (["@every 5m"], ["@every"]),
    (["@often"], ["@often", "@hourly"]),
    ([""], ["5 fields"]),
    (["\x1b[2J * * * *"], ["column 1", "\\x1b[2J"]),
    ([], ["quotes"]),
    (["*", "*", "*", "*", "*"], ["quotes"]),
    (["* * * * *", "--tz", "Europe/Atlantis"], ["Europe/Atlantis", "tzdata"]),
    (["* * * * *", "--tz", "../../../etc/passwd"], ["../../../etc/passwd", "Europe/Berlin"]),
    (["* * * * *", "--tz", ""], ["--tz"]),
    (["CRON_TZ=Europe/Atlantis * * * * *"], ["Europe/Atlantis"]),
    (["CRON_TZ=/etc/localtime * * * * *"], ["column 9", "/etc/localtime"]),
    (["TZ=UTC * * * * *", "--tz", "UTC"], ["--tz"]),
    (["* * * * *", "--count", "0"], ["--count"]),
    (["* * * * *", "--count", "10001"], ["--count"]),
    (["* * * * *", "--from", "tomorrow"], ["--from", "tomorrow", "2026-03-29"]),
    (["* * * * *", "--from", "2026-02-30"], ["--from", "2026-02-30"]),
    (["* * * * *", "--from", "2026-03-29T24:00:00Z"], ["--from"]),
    (["* * * * *", "--from", "2026-03-29Z"], ["--from"]),
    (["* * * * *", "--from", ""], ["--from"]),
    (["* * * * *", "--slots", "3"], ["--slots"]),
    (["* 2 30 3 */7", "--tz", "Europe/Berlin"], ["never fires"]),
])
def test_mistakes(froe, words, culprits):
    result = cron(froe, *words)
    assert result.code == USAGE, result
    assert result.stdout == ""
    assert result.stderr.startswith("froe: ") and result.stderr.count("\n") == 1 and "\x1b" not in result.stderr
    for culprit in culprits:
        assert culprit in result.stderr, result


def test_without_zones(froe, folder):
    result = cron(froe, "* * * * *", "--tz", "Europe/Berlin", env={"TZDIR": str(folder / "none")})
    assert result.code == USAGE and "install the package tzdata" in result.stderr, result
    result = cron(froe, "* * * * *", env={"TZDIR": str(folder / "none")})
    assert result.code == DRAINED and result.stdout.count("\n") == 5, result


def test_help(froe):
    for words in (["help", "cron"], ["cron", "--help"]):
        result = froe.run(*words, plain=True)
        assert result.code == DRAINED and "--tz ZONE" in result.stdout and "--from TIME" in result.stdout, result
    assert "\n  cron " in froe.run("help", plain=True).stdout

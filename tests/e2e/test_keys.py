"""Keys are bytes, though servers take only UTF-8: every kind goes from the listing to the program and to the delete as it is."""
import hashlib
import random
import urllib.parse

import pytest

KEYS = {
    "space": b"a b", "spaces around": b" a ", "plus": b"a+b", "percent": b"100%", "escape": b"a%20b", "escaped slash": b"a%2Fb",
    "twice escaped": b"a%252Fb", "quotes": b"q\"uo'te`", "newline": b"new\nline", "return": b"cr\rx", "crlf": b"a\r\nb",
    "tab": b"tab\tx", "slashes": b"a//b", "leading slashes": b"//x", "leading slash": b"/lead", "up": b"../up",
    "up inside": b"a/../b", "dots": b"..", "dot": b".", "dot slash": b"./x", "ends in dots": b"a/..", "ends in a dot": b"a/.",
    "many dots": b"../../../../etc/passwd", "trailing slash": b"trail/", "controls": b"\x01\x02\x1f", "delete": b"\x7f",
    "umlaut": "\u00e4".encode(), "decomposed": "e\u0301".encode(), "emoji": "\U0001f600".encode(), "right to left": "\u202egnp".encode(),
    "invisible": "\u00a0\ufeff\u200b".encode(), "noncharacter": "\ufffe".encode(), "last": "\U0010ffff".encode(), "markup": b"<a>&amp;</a>",
    "cdata": b"]]>", "question": b"?versions&x=1", "hash": b"a#b", "glob": b"k*?[x]{y}", "backslash": b"back\\slash",
    "colon": b"a:b", "sub-delims": b"!$'(),;=@", "unreserved": b"-_.~", "other": b"{}|^", "option": b"--discard",
    "shell": b"$(touch /tmp/froe-was-here);`id`", "assignment": b"A=b", "long": b"x" * 1024, "long unicode": "\u00df".encode() * 512,
    "long escaped": b" " * 1023 + b"x", "json": b'{"a":"\\u0000"}',
    "nul": b"nul\x00x", "pragma": b"soap?wsdl", "looks like a bucket": b"bucket-1/x",
}
# What a server itself cannot keep.
REFUSED = {"moto": {"newline", "crlf"}, "rgw": {"nul"}, "fake": set()}


@pytest.mark.core
@pytest.mark.timeout(180)
def test_odd_keys(server, froe, prefix, capture):
    refused = REFUSED[server.name]
    bucket = prefix + "1"
    server.make_bucket(bucket)
    bodies = {}
    for name, key in KEYS.items():
        if name not in refused:
            # A zero-byte key with a slash at its end would be a folder marker.
            bodies[key] = random.randbytes(100) + name.encode()
            server.raw.put(bucket, key, bodies[key])
    result = froe.once(program=capture.program(), timeout=150)
    seen = {urllib.parse.unquote_to_bytes(one["env"]["FROE_KEY_URL"]): one for one in capture.seen()}
    assert sorted(seen) == sorted(bodies), result
    for key, one in seen.items():
        assert one["key"] == key.split(b"\0")[0]
        assert one["sha256"] == hashlib.sha256(bodies[key]).hexdigest(), key
        assert one["bucket"] == bucket
    assert len(capture.seen()) == len(bodies)
    status, _, text = server.raw.request("GET", "/" + bucket, [("list-type", "2"), ("encoding-type", "url")])
    assert status == 200 and b"<Key>" not in text, text


def test_odd_keys_when_they_fail(server, froe, prefix):
    """Errors, the log, status and the parked list show them, each on a line, and commands find them again."""
    bucket = prefix + "1"
    server.make_bucket(bucket)
    names = [name for name in ("space", "quotes", "tab", "controls", "emoji", "right to left", "markup", "json", "up", "newline") if name not in REFUSED[server.name]]
    for name in names:
        server.raw.put(bucket, KEYS[name], b"x")
    froe.once("--retries", 0, program=["false"], expect=6)
    parked = froe.parked()
    found = set()
    for one in parked:
        if "key_url" in one:
            found.add(urllib.parse.unquote_to_bytes(one["key_url"]))
        else:
            found.add(one["key"].encode())
    assert found == {KEYS[name] for name in names}
    text = froe.run("parked", "list").stdout
    for byte in ("\x01", "\x1f", "\u202e"):
        assert byte not in text
    assert froe.parked_do("retry", "--bucket", bucket, "--key", KEYS["quotes"].decode()) == 1
    assert froe.parked_do("drop", "--bucket", bucket, "--key", KEYS["emoji"].decode()) == 1
    assert froe.parked_do("drop", "--all") == len(names) - 2


def test_prefix_keys_are_apart(server, froe, prefix, capture):
    """Keys that begin each other, and the same key in two buckets whose names and keys run together alike."""
    wanted = {}
    for bucket, keys in ((prefix + "a", ["b", "b/c", "b/", "-c"]), (prefix + "a-c", ["b", "b/c"])):
        server.make_bucket(bucket)
        for key in keys:
            wanted[bucket, key] = f"{bucket}|{key}".encode()
            server.raw.put(bucket, key, wanted[bucket, key])
    froe.once(program=capture.program())
    assert {(one["bucket"], one["key"].decode()): one["sha256"] for one in capture.seen()} == {
        where: hashlib.sha256(body).hexdigest() for where, body in wanted.items()}

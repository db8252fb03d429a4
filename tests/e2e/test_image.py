"""The image handler: results that are vipsthumbnail's pixel for pixel, and bad objects that park with a reason while froe goes on."""
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import time

import images
import pytest
import yaml
from froe import DRAINED, PARKED, USAGE, kill, processes_of

ROOT = pathlib.Path(__file__).parents[2]
SEED = 20240607


@pytest.fixture
def ask(froe_image, request, folder):
    """ask(spec, file) is a list of the results' paths; each spec has a worker of its own."""
    workers = {}
    wrapper = request.config.getoption("--wrapper").split()

    def ask(spec, file, key="x"):
        text = json.dumps(spec)
        if text not in workers:
            workers[text] = images.Worker(froe_image, spec, wrapper)
        answer = workers[text].ask(key, file if isinstance(file, bytes) else file.read_bytes())
        assert answer["status"] == "ok", answer
        paths = []
        for part in answer.get("results", [answer]):
            path = folder / f"result-{len(list(folder.iterdir()))}.{part['extension']}"
            path.write_bytes(answer["parts"][part.get("name", "")])
            paths.append(path)
        return paths
    yield ask
    for worker in workers.values():
        assert worker.stop() == 0


def field(path, name):
    result = subprocess.run(["vipsheader", "-f", name, path], capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def shape(path):
    header = subprocess.run(["vipsheader", path], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r": (\d+)x(\d+) \w+, (\d+) bands?", header).groups()))


def pixels(path, folder):
    """(width, height, bands) and the bytes, by vips' own format, whose header is 64 bytes long."""
    raw = folder / "pixels.v"
    images.run("vips", "copy", path, raw)
    file = raw.read_bytes()
    width, height, bands, _, kind = struct.unpack_from("<5i", file, 4)
    assert file[:4] == b"\xb6\xa6\xf2\x08" and kind in (0, 2), path  # little-endian; bytes or 16 bits each
    return (width, height, bands), file[64:64 + width * height * bands * (2 if kind else 1)]


def to_srgb(file):
    """What has no profile is sRGB already."""
    return ["-e", "srgb"] if field(file, "icc-profile-data") else []


def reference(file, folder, *options, to="png"):
    """What vipsthumbnail makes of it."""
    path = folder / f"reference-{len(list(folder.iterdir()))}"
    images.run("vipsthumbnail", file, *to_srgb(file), *options, "-o", f"{path}.{to}[strip]")
    return pathlib.Path(f"{path}.{to}")


# ---- results ----

@pytest.mark.core
@pytest.mark.parametrize("kind", [*images.FORMATS, "progressive-jpeg", "grey-jpeg", "cmyk-jpeg", "interlaced-png", "deep-png",
                                  "palette-png", "alpha-png", "one-png"])
def test_every_format_is_read_as_vipsthumbnail_reads_it(ask, gallery, folder, kind):
    file = gallery.get(kind)
    [result] = ask({"width": 64, "format": "png"}, file)
    assert pixels(result, folder) == pixels(reference(file, folder, "-s", "64x>"), folder)
    assert "UCHAR" in field(result, "format")


@pytest.mark.parametrize("target", images.FORMATS)
def test_every_format_is_written_as_vipsthumbnail_writes_it(ask, gallery, folder, target):
    extension = images.EXTENSIONS[target]
    for quality in (None, 40):
        if quality and target in ("png", "gif", "tiff"):
            continue
        spec = {"width": 50, "format": target} | ({"quality": quality} if quality else {})
        [result] = ask(spec, gallery.get("jpeg"))
        options = ["strip"] + ([f"Q={quality}"] if quality else []) + (["bitdepth=8"] if target in ("avif", "heif") else [])
        path = folder / f"written-{quality}.{extension}"
        images.run("vipsthumbnail", gallery.get("jpeg"), "-s", "50x>", "-o", f"{path}[{','.join(options)}]")
        assert pixels(result, folder) == pixels(path, folder), (target, quality)


@pytest.mark.core
@pytest.mark.parametrize("spec, options", [
    ({"width": 40}, ["-s", "40x>"]),
    ({"height": 33}, ["-s", "x33>"]),
    ({"width": 60, "height": 20}, ["-s", "60x20>"]),
    ({"width": 500, "enlarge": True}, ["-s", "500x"]),
    ({"width": 500}, ["-s", "500x>"]),
    ({"width": 60, "height": 70, "fit": "fill"}, ["-s", "60x70!"]),
    ({"width": 50, "height": 50, "fit": "cover"}, ["-s", "50x50>", "-m", "centre"]),
    ({"width": 50, "height": 50, "fit": "cover", "position": "smart"}, ["-s", "50x50>", "-m", "attention"]),
    ({"width": 50, "height": 50, "fit": "cover", "position": "entropy"}, ["-s", "50x50>", "-m", "entropy"]),
    ({"width": 50, "height": 50, "fit": "cover", "position": "left"}, ["-s", "50x50>", "-m", "low"]),
    ({"width": 50, "height": 50, "fit": "cover", "position": "bottom-right"}, ["-s", "50x50>", "-m", "high"]),
    ({"width": 50, "height": 50, "fit": "cover", "position": "top"}, ["-s", "50x50>", "-m", "centre"]),
])
@pytest.mark.parametrize("kind", ["jpeg", "alpha-png"])
def test_sizes(ask, gallery, folder, spec, options, kind):
    file = gallery.get(kind)
    [result] = ask(spec | {"format": "png"}, file)
    assert pixels(result, folder) == pixels(reference(file, folder, *options), folder)


def test_without_a_size_the_pixels_stay(ask, gallery, folder):
    [result] = ask({}, gallery.get("png"))
    assert result.suffix == ".png" and pixels(result, folder) == pixels(gallery.get("png"), folder)
    [result] = ask({"format": "webp", "lossless": True}, gallery.get("png"))
    assert result.suffix == ".webp" and pixels(result, folder) == pixels(gallery.get("png"), folder)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(ask, gallery, folder, orientation):
    file = folder / "turned.jpg"
    file.write_bytes(images.oriented(gallery.bytes("jpeg"), orientation))
    for spec, options in (({"width": 40}, []), ({"width": 40, "autorotate": False}, ["--no-rotate"])):
        [result] = ask(spec | {"format": "png"}, file)
        assert pixels(result, folder) == pixels(reference(file, folder, "-s", "40x>", *options), folder)
    [result] = ask({"format": "png"}, file)
    size = (gallery.width, gallery.height)
    assert shape(result)[:2] == (size[::-1] if orientation >= 5 else size)


def test_metadata(ask, gallery):
    file = images.oriented(gallery.bytes("jpeg"), 6)
    [kept] = ask({"metadata": "keep", "width": 30}, file)
    [stripped] = ask({"width": 30}, file)
    [profile_kept] = ask({"width": 30, "icc": "keep"}, file)
    assert images.SECRET in kept.read_bytes() and field(kept, "exif-ifd0-Orientation")[0] == "1"  # it was turned
    for result in (stripped, profile_kept):
        assert images.SECRET not in result.read_bytes() and (field(result, "exif-ifd0-Orientation") or "1")[0] == "1"


def test_transparency_becomes_the_background(ask, gallery, folder):
    for colour, value in (("#ffffff", 255), ("#000000", 0)):
        [result] = ask({"format": "jpeg", "quality": 100, "background": colour}, gallery.get("alpha-png"))
        (_, _, bands), data = pixels(result, folder)
        assert bands == 3 and all(abs(byte - value) < 12 for byte in data[:3])  # transparent on the left


def mark_of(folder, side, colour):
    (folder / "mark.ppm").write_bytes(images.ppm(side, side, paint=colour))
    images.run("vips", "pngsave", folder / "mark.ppm", folder / "mark.png")
    return folder / "mark.png"


def test_watermark(ask, gallery, folder):
    mark = mark_of(folder, 10, [255, 0, 0])
    plain = {"width": 100, "format": "png"}
    [without] = ask(plain, gallery.get("jpeg"))
    (width, height, bands), before = pixels(without, folder)

    def at(data, x, y):
        return data[(y * width + x) * bands:(y * width + x + 1) * bands]

    for position, (x, y) in {"bottom-right": (93, 68), "top-left": (6, 6), "centre": (50, 37), "top": (50, 6), "left": (6, 37)}.items():
        [result] = ask(plain | {"watermark": {"file": str(mark), "position": position, "scale": 0.1}}, gallery.get("jpeg"))
        (_, _, now), data = pixels(result, folder)
        assert now == bands and at(data, x, y) == b"\xff\0\0"
        assert sum(at(data, i, j) != at(before, i, j) for i in range(width) for j in range(height)) <= 100
    [result] = ask(plain | {"watermark": {"file": str(mark), "scale": 0.1, "opacity": 0.5}}, gallery.get("jpeg"))
    _, data = pixels(result, folder)
    assert all(abs(new - (old + red) / 2) <= 2 for new, old, red in zip(at(data, 93, 68), at(before, 93, 68), (255, 0, 0)))


@pytest.mark.parametrize("kind", ["wide-jpeg", "wide-png", "ink-jpeg"])
def test_profiles(ask, gallery, folder, kind):
    """Colours become those of sRGB; kept they are the same numbers, with the profile that gives them a meaning."""
    file = gallery.get(kind)
    profile = field(file, "icc-profile-data")
    converted, kept = reference(file, folder, "-s", "40x>"), folder / "kept.png"
    images.run("vipsthumbnail", file, "-s", "40x>", "-o", f"{kept}[strip]")
    [result] = ask({"width": 40, "format": "png"}, file)
    assert pixels(result, folder) == pixels(converted, folder)
    assert (pixels(result, folder) == pixels(kept, folder)) == (kind == "ink-jpeg")
    assert field(result, "icc-profile-data") is None
    [result] = ask({"width": 40, "format": "png", "icc": "keep"}, file)
    if kind == "ink-jpeg":  # scaled as sRGB, and so it has that one's
        assert pixels(result, folder) == pixels(converted, folder) and field(result, "icc-profile-data") not in (None, profile)
    else:
        assert pixels(result, folder) == pixels(kept, folder) and field(result, "icc-profile-data") == profile


@pytest.mark.parametrize("target", images.FORMATS)
def test_no_words_are_left(ask, gallery, folder, target):
    """Whatever a format calls them; with a profile that stays, too, when nothing else does."""
    for extension in ("tif", "png", "jpg", "gif"):
        file = folder / f"told.{extension}"
        images.run(images.CONVERT, gallery.get("png"), "-set", "comment", "a secret", "-set", "Author", "a secret", file)
        assert b"a secret" in file.read_bytes()
        for icc in ("srgb", "keep"):
            [result] = ask({"format": target, "icc": icc}, file)
            assert b"a secret" not in result.read_bytes(), (extension, icc)


@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize("spec", [{"width": 20}, {"width": 10, "height": 10, "fit": "cover"}, {}])
def test_animations_keep_their_time(ask, gallery, spec, target):
    [result] = ask(spec | {"format": target}, gallery.get("film-gif"))
    assert (field(f"{result}[n=-1]", "delay").split(), field(result, "loop")) == (["70", "230", "500"], "3")


@pytest.mark.parametrize("kind", ["animated-gif", "animated-webp"])
@pytest.mark.parametrize("target", ["gif", "webp"])
def test_animations(ask, gallery, folder, kind, target):
    file = gallery.get(kind)
    [result] = ask({"width": 20, "format": target}, file)
    assert (field(result, "n-pages"), shape(result)[:2]) == ("5", (20, 15))
    [first] = ask({"width": 20, "format": target, "animated": "first"}, file)
    assert field(first, "n-pages") in (None, "1") and shape(first)[:2] == (20, 15)
    [jpeg] = ask({"width": 20, "format": "jpeg"}, file)
    assert shape(jpeg)[:2] == (20, 15)
    mark = mark_of(folder, 4, [0, 0, 0])
    for more in ({}, {"position": "right"}, {"position": "attention"}, {"watermark": {"file": str(mark), "scale": 0.1}}):
        [cut] = ask({"width": 10, "height": 12, "fit": "cover", "format": target} | more, file)
        assert (field(cut, "n-pages"), shape(cut)[:2]) == ("5", (10, 12))
        (width, height, bands), data = pixels(f"{cut}[n=-1]", folder)  # one below the other
        assert (width, height) == (10, 5 * 12)
        for i in range(5):  # each frame is still its own
            red = data[i * 12 * width * bands]
            assert abs(red - 50 * i) < 30, (more, i, red)


@pytest.mark.core
@pytest.mark.parametrize("kind", ["jpeg", "avif"])
def test_several_results_of_one_read(ask, gallery, folder, kind):
    outputs = [{"name": "small", "width": 30}, {"name": "large", "width": 90, "format": "webp"},
               {"name": "again", "width": 30, "format": "webp"}, {"name": "square", "width": 30, "height": 30, "fit": "cover"}]
    results = ask({"outputs": outputs, "format": "png"}, gallery.get(kind))
    assert [path.suffix for path in results] == [".png", ".webp", ".webp", ".png"]
    alone = [ask({"format": "png"} | {k: v for k, v in one.items() if k != "name"}, gallery.get(kind))[0] for one in outputs]
    for together, single in zip(results, alone):
        assert pixels(together, folder) == pixels(single, folder)


# ---- through froe ----

# What a worker says of a bad file; nothing of a worker that died.
REASONS = re.compile(r"(the worker says that it failed: )?(not an image: |truncated \w+|damaged \w+|wrong extension: |too many pixels: |"
                     r"cannot be written as \w+: |the object has \d+ bytes, more than |.*, which is not among the loaders)")
# Bombs that are small pictures, and what does not fit into these is never unpacked.
SMALL_AFTER_ALL = {"png-text", "png-profile", "png-longer", "gif-canvas", "jpg-jpg-cut"}


@pytest.fixture
def drain(froe, folder, prefix, froe_image):
    """drain(image, expect) drains everything through that image handler into a directory, which it returns."""
    into = folder / "results"
    into.mkdir()

    def drain(image, *args, expect=DRAINED, output=None, **more):
        config = folder / "froe.yaml"
        config.write_text(yaml.safe_dump({
            "bucket_prefix": prefix, "store": f"sqlite:{froe.store}", "backoff": "10ms",
            "rules": [{"handler": {"image": image}, "output": output or f"{into}/{{bucket}}/{{key}}.{{name}}.{{ext}}"}]}))
        result = froe.run("run", "--once", "--log", "json", "--config", config, *args, plain=True, timeout=120, **more)
        assert result.code == expect, result
        return into
    return drain


@pytest.mark.core
def test_thumbnails_to_a_directory(fake, froe, prefix, gallery, drain, folder):
    fake.make_bucket(prefix + "1")
    contents = {f"d/{kind}.{images.EXTENSIONS[kind]}": gallery.bytes(kind) for kind in images.FORMATS}
    fake.raw.fill(prefix + "1", contents.items())
    into = drain({"width": 40, "outputs": [{"name": "small", "format": "webp"}, {"name": "large", "width": 80, "format": "jpeg"}]})
    assert fake.keys(prefix + "1") == [] and froe.parked() == []
    for key in contents:
        kind = key[2:].split(".")[0]
        for name, extension, width in (("small", "webp", 40), ("large", "jpg", 80)):
            result = into / (prefix + "1") / f"{key}.{name}.{extension}"
            path = folder / f"reference.{extension}"
            images.run("vipsthumbnail", gallery.get(kind), *to_srgb(gallery.get(kind)), "-s", f"{width}x>", "-o", f"{path}[strip]")
            made = pixels(result, folder)
            assert made[0][0] == width and made == pixels(path, folder)


@pytest.mark.core
def test_thumbnails_to_a_bucket_on_every_server(server, froe, prefix, gallery, drain, folder):
    server.make_bucket(prefix + "in")
    target = prefix.replace("e2e", "out") + "thumbs"
    server.make_bucket(target)
    kinds = ("jpeg", "png", "webp", "avif")
    for kind in kinds:
        server.s3.put_object(Bucket=prefix + "in", Key=f"a b/ü-{kind}", Body=gallery.bytes(kind), ContentType=f"image/{kind}")
    server.s3.put_object(Bucket=prefix + "in", Key="cut.jpg", Body=gallery.bytes("jpeg")[:-500])
    drain({"width": 40, "outputs": [{"name": "w", "format": "webp"}, {"name": "j", "format": "jpeg"}]}, expect=PARKED,
          output={"bucket": target, "key": "{stem}.{name}.{ext}"})
    assert server.keys(prefix + "in") == ["cut.jpg"] and "truncated jpeg" in froe.parked()[0]["error"]
    assert server.keys(target) == sorted(f"a b/ü-{kind}.{end}" for kind in kinds for end in ("j.jpg", "w.webp"))
    for kind in kinds:
        for end, content_type in (("j.jpg", "image/jpeg"), ("w.webp", "image/webp")):
            got = server.s3.get_object(Bucket=target, Key=f"a b/ü-{kind}.{end}")
            assert got["ContentType"] == content_type
            path = folder / f"got.{end}"
            path.write_bytes(got["Body"].read())
            assert pixels(path, folder) == pixels(reference(gallery.get(kind), folder, "-s", "40x>", to=end[2:]), folder)


@pytest.mark.core
@pytest.mark.timeout(300)
def test_bad_files_park_with_a_reason(fake, froe, prefix, gallery, drain, froe_image, request):
    """Among good ones, at the first attempt: what does not change is not tried again.

    Nothing that is cut off passes, and no stranger and no bomb that is not a small image after all. A flipped bit may do no
    harm: then the object is gone, and what was made of it is a whole image of the size that was asked for."""
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    dice = random.Random(SEED)
    cut = {f"cut/{name}/{key}": body for name, key, body in images.truncations(gallery)}
    strange = {f"strange/{name}/{key}": body for source in (images.bombs(gallery), images.strangers(gallery, dice))
               for name, key, body in source}
    flipped = {f"flip/{name}/{key}": body for name, key, body in images.flips(gallery, dice, each=15)}
    bad = cut | strange | flipped
    good = {f"good/{i}.jpg": gallery.bytes("jpeg") for i in range(60)}
    everything = sorted((bad | good).items())
    dice.shuffle(everything)
    fake.raw.fill(bucket, everything)
    began = time.monotonic()
    into = drain({"width": 20, "format": "webp"}, expect=PARKED)
    took = time.monotonic() - began
    parked = {one["key"]: one for one in froe.parked()}
    assert len(bad) > 800 and not set(parked) & set(good) and set(cut) <= set(parked)
    assert sorted(fake.keys(bucket)) == sorted(parked)
    assert {key.split("/")[1] for key in set(strange) - set(parked)} <= SMALL_AFTER_ALL
    passed = set(bad | good) - set(parked)
    assert len(set(flipped) & passed) < len(flipped) / 2
    results = {str(path.relative_to(into / bucket)): path for path in (into / bucket).rglob("*") if path.is_file()}
    assert set(results) == {f"{key}..webp" for key in passed}
    judge = images.Worker(froe_image, {"format": "png", "extension": "ignore"})
    for path in results.values():
        answer = judge.ask("x", path.read_bytes())
        assert answer["status"] == "ok", (path, answer)
        assert struct.unpack(">I", answer["parts"][""][16:20])[0] <= 20, path  # PNG's width
    assert judge.stop() == 0
    for key, one in parked.items():
        assert REASONS.match(one["error"]) and len(one["error"]) < 500, one
        assert one["attempts"] == 1, one
    assert "more than max_pixels" in parked["strange/png-zip/a.png"]["error"]
    assert took < 60 * request.config.getoption("--patience"), took


def test_a_worker_that_is_killed_costs_an_attempt(fake, froe, prefix, gallery, drain, folder):
    bucket = prefix + "1"
    fake.make_bucket(bucket)
    fake.raw.fill(bucket, ((f"{i}.jpg", gallery.bytes("jpeg")) for i in range(400)))
    config = folder / "froe.yaml"
    (folder / "results").mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump({
        "bucket_prefix": prefix, "store": f"sqlite:{froe.store}", "backoff": "10ms", "retries": 50,
        "rules": [{"handler": {"image": {"width": 77, "format": "webp"}}, "output": f"{folder}/results/{{stem}}.{{ext}}"}]}))
    running = froe.start("run", "--once", "--config", config, plain=True)
    kills = 0
    while running.process.poll() is None and kills < 10:
        workers = [pid for pid, line in processes_of("froe-image") if '"width":77' in line and "--check" not in line]
        if workers:
            kills += kill(workers[0])
        time.sleep(0.05)
    assert running.wait().code == DRAINED and kills > 0
    assert fake.keys(bucket) == [] and len(list((folder / "results").iterdir())) == 400


# ---- configuration ----

def test_config_check_asks_froe_image(froe, folder, froe_image):
    def check(image, code):
        path = folder / "c.yaml"
        path.write_text(yaml.safe_dump({"rules": [{"handler": {"image": image}, "output": f"{folder}/{{key}}.{{ext}}"}]}))
        result = froe.run("config", "check", path, plain=True)
        assert result.code == code, result
        return result.stdout + result.stderr

    assert "fine" in check({"width": 3}, DRAINED)
    assert "did you mean width?" in check({"widht": 3}, USAGE) and "c.yaml:4:7" in check({"widht": 3}, USAGE)
    assert "the watermark cannot be read" in check({"watermark": {"file": "/no/such.png"}}, USAGE)
    formats = json.loads(subprocess.run([froe_image, "--formats"], capture_output=True, check=True).stdout)
    assert set(formats["write"]) >= {"jpeg", "png"} and set(formats["read"]) >= {"jpeg", "png"}
    for name in images.FORMATS:
        check({"format": name}, DRAINED if name in formats["write"] else USAGE)


@pytest.mark.parametrize("config", [{"image": {"width": 3}}, {"image": {"width": 3}, "output": "none"},
                                    {"rules": [{"handler": {"image": {"width": 3}}}]},
                                    {"image": {"width": 3}, "rules": [{"buckets": "b", "output": "none"}]}])
def test_images_that_go_nowhere_are_refused(froe, folder, prefix, config):
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({"bucket_prefix": prefix} | config))
    for command in (("config", "check", path), ("run", "--once", "--config", path)):
        result = froe.run(*command, plain=True)
        assert result.code == USAGE and "nothing says where they go" in result.stderr, result


def test_without_froe_image(fake, froe, prefix, folder):
    """A froe that is alone says what it lacks."""
    alone = folder / "froe"
    shutil.copy(froe.program, alone)
    config = folder / "c.yaml"
    config.write_text(yaml.safe_dump({"bucket_prefix": prefix, "store": f"sqlite:{froe.store}",
                                      "rules": [{"handler": {"image": {"width": 3}}, "output": f"{folder}/{{key}}.{{ext}}"}]}))
    checked = subprocess.run([alone, "config", "check", config], capture_output=True, text=True)
    assert checked.returncode == DRAINED and "froe-image is not here" in checked.stdout
    ran = subprocess.run([alone, "run", "--once", "--config", config], capture_output=True, text=True, env=froe.env())
    assert ran.returncode == USAGE and "images need froe-image" in ran.stderr


@pytest.mark.needs("strict_auth")  # the fake and Ceph: moto is slow
def test_example(server, froe, prefix, gallery, folder, froe_image):
    """examples/config/thumbnails.yaml, with the names of this test."""
    config = yaml.safe_load((ROOT / "examples/config/thumbnails.yaml").read_text())
    photos, thumbs = prefix + "photos", prefix.replace("e2e", "out") + "thumbnails"
    config |= {"bucket_prefix": prefix, "store": f"sqlite:{froe.store}"}
    for rule in config["rules"]:
        rule["buckets"] = rule["buckets"].replace("uploads-", prefix)
        rule["output"]["bucket"] = thumbs
    path = folder / "thumbnails.yaml"
    path.write_text(yaml.safe_dump(config))
    server.make_bucket(photos)
    server.make_bucket(thumbs)
    server.raw.fill(photos, [("2024/a.jpg", gallery.bytes("jpeg")), ("2024/b.png", gallery.bytes("png")), ("c.gif", gallery.bytes("gif")),
                           ("bad.jpg", b"no image"), ("notes.txt", b"hello")])
    result = froe.run("run", "--once", "--config", path, plain=True)
    assert result.code == PARKED, result
    assert server.keys(photos) == ["bad.jpg", "notes.txt"]
    assert [one["key"] for one in froe.parked()] == ["bad.jpg"] and "not an image" in froe.parked()[0]["error"]
    made = server.keys(thumbs)
    assert {key.rsplit("/", 1)[-1] for key in made} >= {"a.webp", "b.webp", "c.webp"}

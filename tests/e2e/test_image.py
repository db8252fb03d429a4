"""The image handler: results that are vipsthumbnail's pixel for pixel, and files made to break decoders, which break nothing but
themselves."""
import json
import pathlib
import random
import re
import resource
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


@pytest.fixture(scope="session")
def program(request):
    path = pathlib.Path(request.config.getoption("--build"), "src/image/froe-image").resolve()
    if not path.exists():
        pytest.skip("froe-image is not built: scripts/deps build installs libvips")
    if images.missing():
        pytest.skip(images.missing())
    return path


@pytest.fixture(scope="session")
def gallery(program, tmp_path_factory):
    return images.Gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def ask(program, request, folder):
    """ask(spec, file) is a list of the results' paths; each spec has a worker of its own."""
    workers = {}
    wrapper = request.config.getoption("--wrapper").split()

    def ask(spec, file, key="x"):
        text = json.dumps(spec)
        if text not in workers:
            workers[text] = images.Worker(program, spec, wrapper)
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


# ---- bad files ----

def fed(program, request, gallery, spec, inputs):
    """Each input's answer; a worker that dies is an error, as is one that takes long."""
    worker = images.Worker(program, spec, request.config.getoption("--wrapper").split())
    judge = images.Worker(program, {"width": 8, "format": "png", "extension": "ignore"})
    answers = {}
    try:
        for name, key, body in inputs:
            began = time.monotonic()
            answer = answers[name] = worker.ask(key, body)
            assert time.monotonic() - began < 30 * request.config.getoption("--patience"), name
            if answer["status"] == "ok":  # a decoder may get over something; then what comes out is an image
                for result in answer["parts"].values():
                    assert judge.ask("x", result)["status"] == "ok", name
            else:
                assert answer["status"] == "fail" and answer["final"] is True and not answer["parts"], (name, answer)
                assert 5 < len(answer["reason"]) < 400 and "\n" not in answer["reason"], (name, answer)
    finally:
        peak = worker.peak_kib()
        assert worker.stop() == 0
        judge.stop()
    return answers, peak


SPEC = {"outputs": [{"name": "a", "width": 32, "format": "webp"}, {"name": "b", "width": 32, "format": "jpeg"},
                    {"name": "c", "width": 16, "height": 16, "fit": "cover", "format": "png"}]}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_truncations_at_every_percent(program, request, gallery):
    answers, _ = fed(program, request, gallery, SPEC, images.truncations(gallery))
    assert len(answers) == 99 * len(images.FORMATS)
    passed = [name for name, answer in answers.items() if answer["status"] == "ok"]
    assert passed == []
    assert all("truncated" in answer["reason"] for name, answer in answers.items() if not name.endswith("-1%"))


@pytest.mark.core
@pytest.mark.timeout(300)
def test_truncations(program, request, gallery):
    answers, _ = fed(program, request, gallery, SPEC, images.truncations(gallery, steps=(3, 20, 50, 80, 99)))
    assert all(answer["status"] == "fail" for answer in answers.values())


@pytest.mark.timeout(300)
def test_flipped_bits(program, request, gallery):
    answers, _ = fed(program, request, gallery, SPEC, images.flips(gallery, random.Random(SEED)))
    assert len(answers) > 400
    assert sum(answer["status"] == "fail" for answer in answers.values()) > 100


@pytest.mark.core
def test_broken_animations(program, request, gallery):
    """What libvips's writers hold when reading fails under them is let go: the leak sanitizer looks at the end."""
    flips = [one for one in images.flips(gallery, random.Random(SEED)) if one[1].endswith((".gif", ".webp"))]
    answers, _ = fed(program, request, gallery, SPEC, flips)
    assert sum(answer["status"] == "fail" for answer in answers.values()) > 20


@pytest.mark.core
@pytest.mark.timeout(300)
def test_strangers(program, request, gallery):
    answers, _ = fed(program, request, gallery, SPEC, images.strangers(gallery, random.Random(SEED)))
    said = {name: answer.get("reason", "") for name, answer in answers.items()}
    assert [name for name, answer in answers.items() if answer["status"] == "ok"] in ([], ["jpg-jpg-cut"])
    assert "the object is empty" in said["empty"] and "not an image" in said["random-100"] and "not an image" in said["text"]
    assert "an SVG drawing, which is not among the loaders" in said["svg"] and "a PDF document" in said["pdf"]
    assert "wrong extension: the key says jpeg, the object is png" in said["png-as-jpg"]
    assert "wrong extension" in said["gif-then-jpg"]


def test_polyglots_are_what_they_begin_with(program, request, gallery):
    inputs = [(name, *make(gallery)) for name, make in images.POLYGLOTS.items()]
    answers, _ = fed(program, request, gallery, SPEC | {"metadata": "strip"}, inputs)
    for name, answer in answers.items():
        assert answer["status"] == "ok", (name, answer)
        for result in answer["parts"].values():  # and nothing of the other half is handed on
            assert not any(word in result for word in (b"PK\3\4", b"<script", b"<?php"))


@pytest.mark.core
@pytest.mark.timeout(300)
def test_bombs(program, request, gallery):
    answers, peak = fed(program, request, gallery, SPEC, images.bombs(gallery))
    for name in ("jpeg-header", "png-zip", "png-grey", "gif-frames", "gif-outside", "webp-header", "tiff-II", "tiff-MM"):
        assert "more than max_pixels" in answers[name]["reason"], (name, answers[name])
    assert answers["png-header"]["status"] == answers["png-nothing"]["status"] == "fail"
    if not request.config.getoption("--wrapper") and not sanitized(program):
        assert peak < 400 * 1024, f"{peak} KiB"


def refusal_of(program, spec, body, key="x"):
    worker = images.Worker(program, spec)
    answer = worker.ask(key, body)
    assert worker.stop() == 0
    return answer


def sanitized(program):
    return "asan" in str(program) or "tsan" in str(program)


def test_a_header_that_lies(program):
    """What is coded is as large as it pleases: then a decoder may not have the memory."""
    if sanitized(program):
        pytest.skip("a sanitizer's memory does not fit into a limit")
    worker = images.Worker(program, {"width": 8, "format": "png", "max_pixels": 10000})
    answer = worker.ask("a.avif", images.huge_avif(16, 16))
    assert answer["status"] == "fail" and "avif" in answer["reason"]
    assert worker.peak_kib() < 300 * 1024  # of 1.7 GB
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["progressive-jpeg", "interlaced-png", "webp"])
def test_too_little_memory_is_not_called_damage(program, gallery, folder, kind):
    """Another attempt may find more; a file that is damaged is parked at once."""
    if sanitized(program):
        pytest.skip("a sanitizer's memory does not fit into a limit")
    flat, large = folder / "flat.v", folder / f"large.{images.EXTENSIONS[kind.split('-')[-1]]}"
    images.run("vips", "black", flat, 4000, 4000, "--bands", 3)
    images.run("vips", kind.split("-")[-1] + "save", flat, large, *["--interlace"] * ("-" in kind))
    worker = images.Worker(program, {"width": 8, "format": "png"})
    assert worker.ask("x", gallery.bytes("jpeg"))["status"] == "ok"  # so that what it always takes it has
    pid = worker.process.pid
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        now = next(int(line.split()[1]) for line in status if line.startswith("VmData:")) * 1024
    # A third of what the large one takes, and enough for a small one beside what that leaves in pieces.
    resource.prlimit(pid, resource.RLIMIT_DATA, (now + (16 << 20),) * 2)
    answer = worker.ask("x", large.read_bytes())
    assert answer["status"] == "retry" and "not enough memory" in answer["reason"], answer
    assert worker.ask("x", gallery.bytes("jpeg"))["status"] == "ok"
    assert worker.stop() == 0


def test_what_codes_it_counts(program, gallery):
    """A brand is a word; which decoder is run must be among the loaders, too."""
    avif, heif = gallery.bytes("avif"), gallery.bytes("heif")
    for body, loaders, reason in ((avif.replace(b"avif", b"heic"), ["heif"], "heif that is coded as avif, which is not among"),
                                  (heif.replace(b"heic", b"avif"), ["avif"], "avif that is coded as heif, which is not among")):
        assert reason in refusal_of(program, {"loaders": loaders}, body)["reason"]
    assert refusal_of(program, {"loaders": ["avif"], "width": 9}, avif)["status"] == "ok"


def test_limits(program, gallery, folder):
    def refusal(spec, body, key="x"):
        return refusal_of(program, spec, body, key)

    size = gallery.width * gallery.height
    file = gallery.bytes("jpeg")
    assert refusal({"max_pixels": size}, file)["status"] == "ok"
    assert f"{gallery.width}x{gallery.height} are more than max_pixels" in refusal({"max_pixels": size - 1}, file)["reason"]
    assert refusal({"max_bytes": len(file)}, file)["status"] == "ok"
    assert "more than max_bytes" in refusal({"max_bytes": len(file) - 1}, file)["reason"]
    assert "jpeg, which is not among the loaders" in refusal({"loaders": ["png", "webp"]}, file)["reason"]
    assert refusal({"extension": "ignore"}, file, "a.png")["status"] == "ok"
    enlarged = {"width": 60000, "enlarge": True}
    assert "the result" in refusal(enlarged, file)["reason"] and "more than max_pixels" in refusal(enlarged, file)["reason"]
    # What is cut off was in memory, too.
    (folder / "slit.ppm").write_bytes(b"P6 1 3000 255\n" + bytes(9000))
    images.run("vips", "pngsave", folder / "slit.ppm", folder / "slit.png")
    slit, square = (folder / "slit.png").read_bytes(), {"width": 300, "height": 300, "fit": "cover"}
    assert "more than max_pixels, 100000000, before it is cut" in refusal(square | {"enlarge": True}, slit)["reason"]
    assert refusal(square, slit)["status"] == "ok"
    assert refusal(square | {"max_pixels": 3000}, slit)["status"] == "ok"  # 1x300 pixels, not what it might have been
    frames = gallery.bytes("animated-gif")
    assert "before it is cut" in refusal(square | {"enlarge": True, "max_pixels": 500000}, frames)["reason"]  # 5 of 400x300
    assert refusal({"max_pixels": 1200 * 5}, frames)["status"] == "ok"
    assert "40x30 in 5 frames are more than max_pixels" in refusal({"max_pixels": 5999}, frames)["reason"]
    assert refusal({"max_pixels": 5999, "animated": "first"}, frames)["status"] == "ok"


def test_time_is_limited(program, gallery, folder):
    """A worker whose time is up says so and ends; nothing else tells a decoder to stop."""
    large = folder / "large.ppm"
    large.write_bytes(b"P6 4000 4000 255\n" + random.Random(1).randbytes(3 * 4000 * 4000))
    images.run("vips", "pngsave", large, folder / "large.png", "--compression", "1")
    worker = images.Worker(program, {"format": "avif", "max_time": "50ms"})
    answer = worker.ask("x", (folder / "large.png").read_bytes())
    assert answer["status"] == "fail" and answer["reason"] == "the work took longer than max_time, 50ms"
    assert worker.process.wait(20) == 0


# ---- through froe ----

# What a worker says of a bad file; nothing of a worker that died.
REASONS = re.compile(r"(the worker says that it failed: )?(not an image: |truncated \w+|damaged \w+|wrong extension: |too many pixels: |"
                     r"cannot be written as \w+: |the object has \d+ bytes, more than |.*, which is not among the loaders)")
# Bombs that are small pictures, and what does not fit into these is never unpacked.
SMALL_AFTER_ALL = {"png-text", "png-profile", "png-longer", "gif-canvas", "jpg-jpg-cut"}


@pytest.fixture
def drain(froe, folder, prefix, program):
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
def test_bad_files_park_with_a_reason(fake, froe, prefix, gallery, drain, program, request):
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
    judge = images.Worker(program, {"format": "png", "extension": "ignore"})
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

def test_config_check_asks_froe_image(froe, folder, program):
    def check(image, code):
        path = folder / "c.yaml"
        path.write_text(yaml.safe_dump({"rules": [{"handler": {"image": image}, "output": f"{folder}/{{key}}.{{ext}}"}]}))
        result = froe.run("config", "check", path, plain=True)
        assert result.code == code, result
        return result.stdout + result.stderr

    assert "fine" in check({"width": 3}, DRAINED)
    assert "did you mean width?" in check({"widht": 3}, USAGE) and "c.yaml:4:7" in check({"widht": 3}, USAGE)
    assert "the watermark cannot be read" in check({"watermark": {"file": "/no/such.png"}}, USAGE)
    formats = json.loads(subprocess.run([program, "--formats"], capture_output=True, check=True).stdout)
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
def test_example(server, froe, prefix, gallery, folder, program):
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

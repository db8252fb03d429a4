"""Files made to break decoders, which break nothing but themselves; and the limits of memory, pixels and time."""
import random
import resource
import time

import images
import pytest

SEED = 20240607


def fed(froe_image, request, gallery, spec, inputs):
    """Each input's answer; a worker that dies is an error, as is one that takes long."""
    worker = images.Worker(froe_image, spec, request.config.getoption("--wrapper").split())
    judge = images.Worker(froe_image, {"width": 8, "format": "png", "extension": "ignore"})
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
def test_truncations_at_every_percent(froe_image, request, gallery):
    answers, _ = fed(froe_image, request, gallery, SPEC, images.truncations(gallery))
    assert len(answers) == 99 * len(images.FORMATS)
    passed = [name for name, answer in answers.items() if answer["status"] == "ok"]
    assert passed == []
    assert all("truncated" in answer["reason"] for name, answer in answers.items() if not name.endswith("-1%"))


@pytest.mark.core
@pytest.mark.timeout(300)
def test_truncations(froe_image, request, gallery):
    answers, _ = fed(froe_image, request, gallery, SPEC, images.truncations(gallery, steps=(3, 20, 50, 80, 99)))
    assert all(answer["status"] == "fail" for answer in answers.values())


@pytest.mark.timeout(300)
def test_flipped_bits(froe_image, request, gallery):
    answers, _ = fed(froe_image, request, gallery, SPEC, images.flips(gallery, random.Random(SEED)))
    assert len(answers) > 400
    assert sum(answer["status"] == "fail" for answer in answers.values()) > 100


@pytest.mark.core
def test_broken_animations(froe_image, request, gallery):
    """What libvips's writers hold when reading fails under them is let go: the leak sanitizer looks at the end."""
    flips = [one for one in images.flips(gallery, random.Random(SEED)) if one[1].endswith((".gif", ".webp"))]
    answers, _ = fed(froe_image, request, gallery, SPEC, flips)
    assert sum(answer["status"] == "fail" for answer in answers.values()) > 20


@pytest.mark.core
@pytest.mark.timeout(300)
def test_strangers(froe_image, request, gallery):
    answers, _ = fed(froe_image, request, gallery, SPEC, images.strangers(gallery, random.Random(SEED)))
    said = {name: answer.get("reason", "") for name, answer in answers.items()}
    assert [name for name, answer in answers.items() if answer["status"] == "ok"] in ([], ["jpg-jpg-cut"])
    assert "the object is empty" in said["empty"] and "not an image" in said["random-100"] and "not an image" in said["text"]
    assert "an SVG drawing, which is not among the loaders" in said["svg"] and "a PDF document" in said["pdf"]
    assert "wrong extension: the key says jpeg, the object is png" in said["png-as-jpg"]
    assert "wrong extension" in said["gif-then-jpg"]


def test_polyglots_are_what_they_begin_with(froe_image, request, gallery):
    inputs = [(name, *make(gallery)) for name, make in images.POLYGLOTS.items()]
    answers, _ = fed(froe_image, request, gallery, SPEC | {"metadata": "strip"}, inputs)
    for name, answer in answers.items():
        assert answer["status"] == "ok", (name, answer)
        for result in answer["parts"].values():  # and nothing of the other half is handed on
            assert not any(word in result for word in (b"PK\3\4", b"<script", b"<?php"))


@pytest.mark.core
@pytest.mark.timeout(300)
def test_bombs(froe_image, request, gallery):
    answers, peak = fed(froe_image, request, gallery, SPEC, images.bombs(gallery))
    for name in ("jpeg-header", "png-zip", "png-grey", "gif-frames", "gif-outside", "webp-header", "tiff-II", "tiff-MM"):
        assert "more than max_pixels" in answers[name]["reason"], (name, answers[name])
    assert answers["png-header"]["status"] == answers["png-nothing"]["status"] == "fail"
    if not request.config.getoption("--wrapper") and not sanitized(froe_image):
        assert peak < 400 * 1024, f"{peak} KiB"


def refusal_of(froe_image, spec, body, key="x"):
    worker = images.Worker(froe_image, spec)
    answer = worker.ask(key, body)
    assert worker.stop() == 0
    return answer


def sanitized(froe_image):
    return "asan" in str(froe_image) or "tsan" in str(froe_image)


def test_a_header_that_lies(froe_image):
    """What is coded is as large as it pleases: then a decoder may not have the memory."""
    if sanitized(froe_image):
        pytest.skip("a sanitizer's memory does not fit into a limit")
    worker = images.Worker(froe_image, {"width": 8, "format": "png", "max_pixels": 10000})
    answer = worker.ask("a.avif", images.huge_avif(16, 16))
    assert answer["status"] == "fail" and "avif" in answer["reason"]
    assert worker.peak_kib() < 300 * 1024  # of 1.7 GB
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["progressive-jpeg", "interlaced-png", "webp"])
def test_too_little_memory_is_not_called_damage(froe_image, gallery, folder, kind):
    """Another attempt may find more; a file that is damaged is parked at once."""
    if sanitized(froe_image):
        pytest.skip("a sanitizer's memory does not fit into a limit")
    flat, large = folder / "flat.v", folder / f"large.{images.EXTENSIONS[kind.split('-')[-1]]}"
    images.run("vips", "black", flat, 4000, 4000, "--bands", 3)
    images.run("vips", kind.split("-")[-1] + "save", flat, large, *["--interlace"] * ("-" in kind))
    worker = images.Worker(froe_image, {"width": 8, "format": "png"})
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


def test_what_codes_it_counts(froe_image, gallery):
    """A brand is a word; which decoder is run must be among the loaders, too."""
    avif, heif = gallery.bytes("avif"), gallery.bytes("heif")
    for body, loaders, reason in ((avif.replace(b"avif", b"heic"), ["heif"], "heif that is coded as avif, which is not among"),
                                  (heif.replace(b"heic", b"avif"), ["avif"], "avif that is coded as heif, which is not among")):
        assert reason in refusal_of(froe_image, {"loaders": loaders}, body)["reason"]
    assert refusal_of(froe_image, {"loaders": ["avif"], "width": 9}, avif)["status"] == "ok"


def test_limits(froe_image, gallery, folder):
    def refusal(spec, body, key="x"):
        return refusal_of(froe_image, spec, body, key)

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


def test_time_is_limited(froe_image, gallery, folder):
    """A worker whose time is up says so and ends; nothing else tells a decoder to stop."""
    large = folder / "large.ppm"
    large.write_bytes(b"P6 4000 4000 255\n" + random.Random(1).randbytes(3 * 4000 * 4000))
    images.run("vips", "pngsave", large, folder / "large.png", "--compression", "1")
    worker = images.Worker(froe_image, {"format": "avif", "max_time": "50ms"})
    answer = worker.ask("x", (folder / "large.png").read_bytes())
    assert answer["status"] == "fail" and answer["reason"] == "the work took longer than max_time, 50ms"
    assert worker.process.wait(20) == 0

"""Images for tests: real ones of each format, made by vips and ImageMagick, and bad ones made of these, always the same.

And a client of froe-image's, over its protocol, which sees whether it dies. The fixtures are handed on by conftest.py.
"""
import base64
import functools
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import zlib

import pytest

FORMATS = ("jpeg", "png", "webp", "gif", "tiff", "avif", "heif")
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "tiff": "tif", "avif": "avif", "heif": "heic"}
TOOLS = ("vips", "vipsthumbnail", "vipsheader")
CONVERT = "/usr/bin/convert"


def missing():
    """Why images cannot be made here; None when they can."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)] + ([] if os.path.exists(CONVERT) else [CONVERT])
    return f"{', '.join(absent)} missing: scripts/deps check installs it" if absent else None


def run(*words):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ppm(width, height, seed=1, levels=255, paint=None):
    """A picture with slopes, edges and some noise."""
    dice = random.Random(seed)
    blobs = [(dice.randrange(width), dice.randrange(height), dice.randrange(3, max(4, width // 3)),
              [dice.randrange(levels) for _ in range(3)]) for _ in range(8)]
    rows = bytearray()
    for y in range(height):
        for x in range(width):
            colour = paint or next((c for bx, by, r, c in blobs if (x - bx) ** 2 + (y - by) ** 2 < r * r),
                                   [x * levels // width, y * levels // height, (x + y) * levels // (width + height)])
            noise = dice.randrange(8) if not paint else 0
            for value in colour:
                value = min(levels, value + noise)
                rows += bytes([value]) if levels < 256 else value.to_bytes(2, "big")
    return b"P6 %d %d %d\n" % (width, height, levels) + rows


class Gallery:
    """Files of each kind in a folder, made when first asked for."""

    def __init__(self, folder, width=120, height=90):
        self.folder, self.width, self.height = pathlib.Path(folder), width, height

    def _new(self, name):
        path = self.folder / name
        return path, path.exists()

    @functools.cached_property
    def source(self):
        path, _ = self._new("source.ppm")
        path.write_bytes(ppm(self.width, self.height))
        return path

    def get(self, kind):
        path, there = self._new(kind + "." + EXTENSIONS.get(kind.split("-")[-1], "x"))
        if not there:
            getattr(self, "make_" + kind.replace("-", "_"))(path)
        return path

    def bytes(self, kind):
        return self.get(kind).read_bytes()

    def make_jpeg(self, path):
        run("vips", "jpegsave", self.source, path, "--Q", "90")

    def make_progressive_jpeg(self, path):
        run("vips", "jpegsave", self.source, path, "--interlace")

    def make_wide_jpeg(self, path):
        """With a profile of more colours than sRGB has, in which the same numbers are others."""
        self._with_profile("p3", "jpegsave", path)

    def make_wide_png(self, path):
        self._with_profile("p3", "pngsave", path)

    def make_ink_jpeg(self, path):
        self._with_profile("cmyk", "jpegsave", path)

    def _with_profile(self, profile, save, path):
        run("vips", "icc_transform", self.source, self.folder / "profiled.v", profile, "--input-profile", "srgb")
        run("vips", save, self.folder / "profiled.v", path)

    def make_grey_jpeg(self, path):
        run(CONVERT, self.source, "-colorspace", "Gray", path)

    def make_cmyk_jpeg(self, path):
        run(CONVERT, self.source, "-colorspace", "CMYK", path)

    def make_png(self, path):
        run("vips", "pngsave", self.source, path)

    def make_interlaced_png(self, path):
        run("vips", "pngsave", self.source, path, "--interlace")

    def make_deep_png(self, path):
        deep = self.folder / "deep.ppm"
        deep.write_bytes(ppm(self.width, self.height, levels=65535))
        run("vips", "pngsave", deep, path)
        deep.unlink()

    def make_palette_png(self, path):
        run("vips", "pngsave", self.source, path, "--palette")

    def make_alpha_png(self, path):
        run(CONVERT, self.source, "-alpha", "set", "-channel", "A", "-fx", "i/w", path)

    def make_one_png(self, path):
        one = self.folder / "one.ppm"
        one.write_bytes(b"P6 1 1 255\n\x10\x80\xf0")
        run("vips", "pngsave", one, path)
        one.unlink()

    def make_webp(self, path):
        run("vips", "webpsave", self.source, path)

    def make_gif(self, path):
        run("vips", "gifsave", self.source, path)

    def make_tiff(self, path):
        run("vips", "tiffsave", self.source, path, "--compression", "lzw")

    def make_avif(self, path):
        run("vips", "heifsave", self.source, path, "--compression", "av1", "--effort", "0")

    def make_heif(self, path):
        run("vips", "heifsave", self.source, path, "--compression", "hevc", "--effort", "0")

    def make_animated_gif(self, path):
        frames = []
        for i in range(5):
            frame = self.folder / f"frame{i}.ppm"
            frame.write_bytes(ppm(40, 30, paint=[50 * i, 255 - 50 * i, 128]))
            frames.append(frame)
        run(CONVERT, "-delay", "10", *frames, path)
        for frame in frames:
            frame.unlink()

    def make_film_gif(self, path):
        run(CONVERT, "-size", "40x30", "-loop", "3", "-delay", "7", "xc:red", "-delay", "23", "xc:green", "-delay", "50", "xc:blue", path)

    def make_animated_webp(self, path):
        run("vips", "webpsave", f"{self.get('animated-gif')}[n=-1]", path, "--lossless")


SECRET = b"secret-place\0"


def oriented(jpeg, orientation):
    """With an EXIF block that says so, and what nobody else is to know."""
    tiff = (b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHIHHI", 2, 0x010e, 2, len(SECRET), 38, 0x0112, 3, 1, orientation, 0, 0) +
            SECRET)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


# ---- bad ones ----

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, data, depth=8, colour=2):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) +
            chunk(b"IDAT", data) + chunk(b"IEND", b""))


@functools.cache
def zeros(n):
    """Deflated, without holding them, and without the time it takes: a full flush makes a piece that stands for itself, again and again."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = last.compress(bytes(n & ((1 << 20) - 1))) + last.flush()
    return b"\x78\xda" + piece * (n >> 20) + rest + struct.pack(">HH", n % 65521, 1)  # Adler-32 of n zeros


def gif_of(width, height, frames, frame=(1, 1)):
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + one * frames + b";"


def bombs(gallery):
    """name, key, bytes: small files that stand for much."""
    jpeg, webp = bytearray(gallery.bytes("jpeg")), bytearray(gallery.bytes("webp"))
    at = jpeg.find(b"\xff\xc0")
    jpeg[at + 5:at + 9] = struct.pack(">HH", 65500, 65500)
    yield "jpeg-header", "a.jpg", bytes(jpeg)
    yield "png-header", "a.png", png_of(2 ** 31 - 1, 2 ** 31 - 1, zlib.compress(b""))
    yield "png-zip", "a.png", png_of(30000, 30000, zeros(30000 * 90001))
    yield "png-grey", "a.png", png_of(50000, 50000, zeros(50000 * 6251), 1, 0)
    small = png_of(10, 10, zlib.compress(bytes(310)))
    yield "png-text", "a.png", small[:33] + chunk(b"zTXt", b"k\0\0" + zeros(256 << 20)) + small[33:]
    yield "png-profile", "a.png", small[:33] + chunk(b"iCCP", b"k\0\0" + zeros(256 << 20)) + small[33:]
    yield "png-longer", "a.png", png_of(10, 10, zeros(256 << 20))
    yield "png-nothing", "a.png", png_of(0, 0, zlib.compress(b""))
    yield "gif-canvas", "a.gif", gif_of(65535, 65535, 1)
    yield "gif-frames", "a.gif", gif_of(2000, 2000, 20000)
    yield "gif-outside", "a.gif", gif_of(1, 1, 3, (65535, 65535))
    yield "gif-nothing", "a.gif", gif_of(0, 0, 0)
    at = webp.find(b"VP8 ")  # the picture's size, and before it that of the canvas, if it has one
    webp[at + 14:at + 18] = struct.pack("<HH", 16383, 16383)
    if webp[12:16] == b"VP8X":
        webp[24:30] = struct.pack("<I", 16382)[:3] * 2
    yield "webp-header", "a.webp", bytes(webp)
    for order, mark in (("<", b"II"), (">", b"MM")):
        tags = [(256, 4, 1, 200000), (257, 4, 1, 200000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
                (277, 3, 1, 1), (278, 4, 1, 200000), (279, 4, 1, 2 ** 32 - 1)]
        entries = b"".join(struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, n, value, *([0] if kind == 3 else []))
                           for tag, kind, n, value in tags)
        head = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(tags)) + entries
        yield f"tiff-{mark.decode()}", "a.tif", head + struct.pack(order + "I", 0)
        yield f"tiff-loop-{mark.decode()}", "a.tif", head + struct.pack(order + "I", 8)  # its next directory is itself
        yield f"tiff-many-{mark.decode()}", "a.tif", mark + struct.pack(order + "HIH", 42, 8, 65535) + entries


HUGE_AVIF = (  # vips black huge.v 16384 16384; vips heifsave huge.v huge.avif --compression av1 --effort 0; deflated
    "eNpjYGCQSSupLEgsy0xjAAIQnZuZZpibmQjkM2rnppYkMkCAYkZKThGUzVCQmVzCgAb4CjJLcsEsRiA2yczJTwZxXBwYmMAiDIz+EJqBgXsWUAwIeF7C"
    "RBj2AbFFZmYe2BlgWVEgJ5UJal5imYEhA5IgI0iJawXE1VmZBUUFQNo7syA5H0gLJ+fnFOUl51QAFTExsDWAbEosM3RulOcBKRfJLC5IhdjqAMUMAgWZ"
    "FZkgBjMHBweQEs8syIX5nJGBkaWxibkFyJTKLEpNg/k3OaU4Gew3oPt4EnJTEkuEGLi45b/X////v4mFhZfDqENcAuiCLo2FDAxR3yJWndh/6WzNbaZv"
    "V06nnC05nRhb2xVsx3vl0GNbw2s8gYnOEslnPqbcSk/WEnLZ9uLpsi6hK+ffnL53eYXyij7v/eEvHj/hKpg6TeuQg5HKz4xnS1itd8/QWXZZUimoY9Ts"
    "UbNHzR41e9TsUbNHzR41e9TsUbOHotk0NBrYXmeDdBc8PbUYQC18NgYhRmZw9wOEpRhZwXQYEEtD2XFArAFVA+qHCDMh1Ge2s4BpWGfAAtjXecGMoNkY"
    "GCawM7AAZQyMDA0YJ0LYjEATGBZAxQ0NDBgXQEz8/x9owwKIiaD+CDMSGwQA4WxqBg==")


def huge_avif(width, height):
    """16384 pixels square, whose header says something else."""
    file = zlib.decompress(base64.b64decode(HUGE_AVIF))
    at = file.find(b"ispe")
    return file[:at + 8] + struct.pack(">II", width, height) + file[at + 16:]


def strangers(gallery, dice):
    """What is no image, or another one than the key says."""
    jpeg, png = gallery.bytes("jpeg"), gallery.bytes("png")
    yield "empty", "a.jpg", b""
    for n in (1, 2, 3, 4, 7, 11, 100, 10000):
        yield f"random-{n}", "a.jpg", dice.randbytes(n)
    for name, start in (("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG\r\n\x1a\n"), ("gif", b"GIF89a"), ("webp", b"RIFF\0\1\0\0WEBP"),
                        ("tiff", b"II*\0"), ("heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), ("avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif")):
        for n in (0, 1, 5, 50, 5000):
            yield f"head-{name}-{n}", f"a.{EXTENSIONS[name]}", start + dice.randbytes(n)
    yield "text", "a.jpg", b"hello, I am a photograph\n" * 20
    yield "svg", "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><image href='file:///etc/passwd'/></svg>"
    yield "svg-as-png", "a.png", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    yield "pdf", "a.pdf", b"%PDF-1.4\n1 0 obj <<>> endobj\ntrailer <<>>\n"
    yield "mvg", "a.mvg", b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://127.0.0.1:1/)'\npop graphic-context\n"
    yield "msl", "a.jpg", b"<?xml version='1.0'?><image><read filename='/etc/passwd'/></image>"
    yield "postscript", "a.jpg", b"%!PS-Adobe-3.0\n(/etc/passwd) run\n"
    yield "html", "a.gif", b"<!DOCTYPE html><html><img src=x></html>"
    yield "zip", "a.png", b"PK\3\4" + dice.randbytes(300)
    yield "program", "a.png", b"\x7fELF" + dice.randbytes(300)
    yield "bmp", "a.bmp", b"BM" + dice.randbytes(200)
    yield "png-as-jpg", "a.jpg", png
    yield "jpg-as-png", "a.png", jpeg
    yield "jpg-as-webp", "a.webp", jpeg
    yield "png-in-jpg", "a.jpg", jpeg[:2] + png
    yield "gif-then-jpg", "a.jpg", b"GIF89a" + jpeg
    yield "jpg-jpg-cut", "a.jpg", jpeg[:len(jpeg) // 3] + jpeg[:len(jpeg) // 3]
    yield "png-without-data", "a.png", png[:33] + chunk(b"IEND", b"")
    yield "png-without-header", "a.png", png[:8] + png[33:]


POLYGLOTS = {  # which are fine as what they begin like, and only as that
    "jpg-and-zip": lambda gallery: ("a.jpg", gallery.bytes("jpeg") + b"PK\3\4" + bytes(100)),
    "png-and-html": lambda gallery: ("a.png", gallery.bytes("png") + b"<script>alert(1)</script>"),
    "jpg-comment-php": lambda gallery: ("a.jpg", gallery.bytes("jpeg")[:2] + b"\xff\xfe\0\x18<?php system($_GET);?>" +
                                        gallery.bytes("jpeg")[2:]),
}


def truncations(gallery, formats=FORMATS, steps=range(1, 100)):
    for name in formats:
        file = gallery.bytes(name)
        for percent in steps:
            yield f"{name}-{percent}%", f"a.{EXTENSIONS[name]}", file[:len(file) * percent // 100]


def flips(gallery, dice, each=40, formats=FORMATS):
    """Bits that are the other way round; some files survive that."""
    for name in (*formats, "animated-gif", "animated-webp", "progressive-jpeg", "interlaced-png"):
        if name.split("-")[-1] not in formats:
            continue
        file = gallery.bytes(name)
        for i in range(each):
            bad = bytearray(file)
            near = len(bad) if i % 2 else min(len(bad), 200)  # half of them in the header
            for _ in range(dice.choice((1, 3, 20))):
                bad[dice.randrange(near)] ^= 1 << dice.randrange(8)
            yield f"{name}-flip-{i}", f"a.{EXTENSIONS[name.split('-')[-1]]}", bytes(bad)


# ---- froe-image over its protocol ----

class Died(Exception):
    pass


class Worker:
    def __init__(self, program, spec, wrapper=()):
        self.command = [*wrapper, str(program), json.dumps(spec)]
        self.id, self.process, self.stderr = 0, None, tempfile.TemporaryFile()

    def start(self):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr)

    def ask(self, key, body):
        """The answer, with its results as bytes by name."""
        self.start()
        self.id += 1
        line = json.dumps({"id": self.id, "body_bytes": len(body), "size": len(body), "key": key})
        try:
            self.process.stdin.write(line.encode() + b"\n" + body)
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer.endswith(b"\n"):
            self.stderr.seek(0)
            raise Died(f"{key}: {self.process.wait()}: {self.stderr.read()[-2000:].decode(errors='replace')}")
        answer = json.loads(answer)
        assert answer["id"] == self.id
        parts = answer.get("results") or ([{"name": "", "bytes": answer["result_bytes"], **answer}] if "result_bytes" in answer else [])
        answer["parts"] = {part["name"]: self.process.stdout.read(part["bytes"]) for part in parts}
        return answer

    def peak_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

    def stop(self):
        if self.process:
            self.process.stdin.close()
            code = self.process.wait(20)
            self.process.stdout.close()
            return code
        return 0


@pytest.fixture(scope="session")
def froe_image(request):
    path = pathlib.Path(request.config.getoption("--build"), "src/image/froe-image").resolve()
    if not path.exists():
        pytest.skip("froe-image is not built: scripts/deps build installs libvips")
    if missing():
        pytest.skip(missing())
    return path


@pytest.fixture(scope="session")
def gallery(froe_image, tmp_path_factory):
    return Gallery(tmp_path_factory.mktemp("gallery"))

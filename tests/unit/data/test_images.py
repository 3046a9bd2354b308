"""Images of all formats: read whole and at their depth, or refused by name."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image


def encoded(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, format=form, **options)
    return content.getvalue()


def png(depth, color, rows, *chunks):
    """Return a PNG of 2 x 2 pixels that Pillow would not write."""
    header = struct.pack(">IIBBBBB", 2, 2, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


@pytest.fixture
def read(tmp_path, prepare):
    """A function that reads one image, named a/1.png whatever it is, out of a zip."""

    def read(content, **keys):
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            archive.writestr("a/1.png", content)
        pack = prepare("image_folder", {"test": 1}, images=tmp_path / "images.zip", **keys)
        return pack["test"].images[0]

    return read


DEEP = np.arange(72).reshape(8, 9) * 900


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (encoded(Image.fromarray(DEEP.astype(np.uint16))), "I;16"),
        (encoded(Image.fromarray(DEEP.astype(np.uint16)), "TIFF"), "I;16"),
        (encoded(Image.fromarray(DEEP.astype(np.uint16)), "TIFF", compression="tiff_lzw"), "I;16"),
        (encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), "I"),
        (encoded(Image.fromarray((DEEP / 1e5).astype(np.float32)), "TIFF"), "F"),
        (encoded(Image.fromarray(DEEP.astype(np.uint16)), "PPM"), "I"),
        (encoded(Image.fromarray(DEEP.astype(np.uint16)), "JPEG2000"), "I;16"),
        (b"P6\n2 1\n65535\n" + bytes(12), "RGB"),
        (b"P6\n2 1\n1023\n" + bytes(12), "RGB"),
        (b"P3\n2 1\n65535\n1 2 3 4 5 6\n", "RGB"),
        (png(16, 0, bytes(10)), "I;16"),
        (png(16, 2, bytes(26)), "RGB"),
        (png(16, 4, bytes(18)), "RGBA"),
        (png(16, 6, bytes(34)), "RGBA"),
    ],
)
def test_an_image_of_more_than_8_bits_a_channel_is_refused(read, content, mode, channels):
    message = (
        rf"images.zip: a/1.png is no readable image: it has more than 8 bits a channel "
        rf"\(mode {mode}\), which would be cut off; convert it to 8 bits"
    )
    with pytest.raises(ValueError, match=message):
        read(content, channels=channels)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("RGB", "BMP"),
        ("CMYK", "TIFF"),
        ("YCbCr", "TIFF"),
        ("CMYK", "JPEG"),
        ("RGB", "JPEG2000"),
    ],
)
def test_an_image_of_8_bits_a_channel_or_fewer_is_read(read, mode, form):
    grey = Image.fromarray(np.where(DEEP > 30_000, 255, 0).astype(np.uint8))
    wanted = np.asarray(grey)
    for channels in (1, 3):
        pixels = read(encoded(grey.convert(mode), form), channels=channels)
        assert pixels.shape == (channels, 8, 9)
        assert np.abs(pixels.astype(int) - wanted).max() < 128  # JPEG loses some


@pytest.mark.parametrize("content", [b"P6\n2 1\n%d\n" + bytes(5), b"P3\n2 1\n%d\n0 0 0 0 0 "])
@pytest.mark.parametrize("largest", [255, 15])
def test_a_ppm_of_colours_of_8_bits_or_fewer_is_read(read, content, largest):
    last = bytes([largest]) if content.startswith(b"P6") else str(largest).encode()
    assert read(content % largest + last).flatten().tolist() == [0, 0, 0, 0, 0, 255]


def test_transparency_is_dropped_and_exif_not_heeded(read):
    image = Image.new("RGBA", (3, 2), (10, 20, 30, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    pixels = read(encoded(image, exif=exif))
    assert pixels.shape == (3, 2, 3)
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_grey_of_fewer_bits_is_spread_over_all_8(read):
    assert read(png(2, 0, b"\0\x70\0\x80"), channels=1)[0].tolist() == [[85, 255], [170, 0]]


def test_damaged_images_are_named(read, monkeypatch):
    noise = np.random.default_rng(0).integers(256, size=(50, 50, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise))
    for content in (whole[:3000], whole[:40], b"", b"GIF89a", whole[:100] + bytes(9) + whole[109:]):
        with pytest.raises(ValueError, match=r"images.zip: a/1.png is no readable image") as caught:
            read(content)
        assert "object at" not in str(caught.value)
    profile = b"icc\0\0" + zlib.compress(bytes(2**22))
    with pytest.raises(ValueError, match=r"a/1.png is no readable image: .*too large"):
        read(png(8, 2, bytes(14), (b"iCCP", profile)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a/1.png is no readable image: .*decompression bomb"):
        read(whole)


def test_no_other_program_is_started_for_an_image(read, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    box = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match=r"a/1.png is no readable image$"):
        read(box)


def test_a_damaged_image_that_pillow_has_no_words_for_is_named(read, monkeypatch):
    def fail(image, *arguments, **options):
        raise AssertionError

    whole = encoded(Image.new("RGB", (9, 8)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ValueError, match=r"a/1.png is no readable image: AssertionError"):
        read(whole)


@pytest.mark.parametrize("size", [(60, 45), (45, 70), (53, 53), (40, 47), (500, 333)])
def test_resize_and_crop_are_torchvisions(read, size):
    from torchvision.transforms import CenterCrop, Compose, Resize

    noise = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    wanted = np.asarray(Compose([Resize(40), CenterCrop(33)])(image))
    assert np.array_equal(read(encoded(image), resize=40, crop=33).transpose(1, 2, 0), wanted)


def test_images_too_small_to_crop_are_refused(read):
    message = r"a/1.png: cannot crop 99 pixels out of an image of \(9, 8\)"
    with pytest.raises(ValueError, match=message):
        read(encoded(Image.new("RGB", (9, 8))), crop=99)

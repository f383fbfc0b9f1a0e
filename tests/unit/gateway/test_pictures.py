"""Pictures of any size, mode, format and polarity become the same row."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from gateway.core.errors import NotAnImage, TooLarge
from gateway.core.published import ImageRecipe
from gateway.core.tensors import Tensor
from gateway.protocols.pictures import decode_pictures

RECIPE = ImageRecipe("images", "logits", 28, 28, is_light_on_dark=True, labels=("no", "yes"))
LIMIT = 1_000_000


def ring(size: tuple[int, int] = (280, 280)) -> Image.Image:
    """A light ring on dark, in the middle."""
    picture = Image.new("L", size, 0)
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    box = (left + side * 0.2, top + side * 0.2, left + side * 0.8, top + side * 0.8)
    ImageDraw.Draw(picture).ellipse(box, outline=255, width=side // 10)
    return picture


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def decode(data: bytes, invert: str = "auto") -> Tensor:
    return np.asarray(decode_pictures([data], RECIPE, invert, LIMIT)[0])


def transparent(ink: int) -> Image.Image:
    picture = Image.new("RGBA", (280, 280), (ink, ink, ink, 0))
    picture.putalpha(ring())
    return picture


def deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)


def rotated_by_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the viewer must turn it by 270 degrees
    picture = ring((280, 140)).transpose(Image.Transpose.ROTATE_90)
    return saved(picture, "JPEG", exif=exif, quality=95)


EXPECTED = decode(saved(ring()))

SAME = {
    "BMP": saved(ring(), "BMP"),
    "JPEG": saved(ring(), "JPEG", quality=95),
    "WebP": saved(ring(), "WEBP", quality=95),
    "lossless WebP": saved(ring(), "WEBP", lossless=True),
    "RGB": saved(ring().convert("RGB")),
    "palette": saved(ring().convert("P")),
    "1 bit": saved(ring().convert("1")),
    "16 bit": saved(deep(ring())),
    "CMYK": saved(ring().convert("CMYK"), "JPEG", quality=95),
    "dark on light": saved(ImageOps.invert(ring())),
    "dark on light, 16 bit": saved(deep(ImageOps.invert(ring()))),
    "light ink on nothing": saved(transparent(255)),
    "dark ink on nothing": saved(transparent(0)),
    "large": saved(ring((900, 900))),
    "wide": saved(ring((560, 280)).crop((140, 0, 420, 280))),
}


def test_range_and_shape() -> None:
    assert EXPECTED.dtype == np.float32
    assert EXPECTED.shape == (28, 28)
    assert 0 <= EXPECTED.min() <= EXPECTED.max() <= 1
    assert EXPECTED[0].max() == 0, "a dark border"
    assert EXPECTED[14, 6:9].max() > 0.8, "a light ring"


@pytest.mark.parametrize("kind", SAME)
def test_every_way_to_save_it_is_the_same_row(kind: str) -> None:
    assert np.abs(decode(SAME[kind]) - EXPECTED).mean() < 0.02


def test_exact_size_is_untouched() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[10:20, 10:20] = np.arange(100).reshape(10, 10)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(pixels))), pixels / np.float32(255))


def test_nothing_is_distorted() -> None:
    wide = decode(saved(ring((560, 280))))
    assert wide[:7].max() == 0, "padded above and below"
    turned = decode(rotated_by_exif())
    assert np.abs(turned - decode(saved(ring((280, 140)), "JPEG", quality=95))).mean() < 0.02


def test_the_client_may_decide_on_inversion() -> None:
    dark_on_light = saved(ImageOps.invert(ring()))
    assert decode(dark_on_light, "no")[0].min() == 1
    np.testing.assert_allclose(decode(dark_on_light, "yes"), EXPECTED, atol=0.02)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "got no bytes"),
        (b"no picture", "expected a picture (PNG, JPEG, BMP, WEBP), got 10 bytes beginning with b'no pictu'"),
        (saved(ring(), "GIF"), "expected a picture (PNG, JPEG, BMP, WEBP)"),
        (saved(ring())[:200], "the picture is broken"),
        (saved(ring(), "JPEG")[:400], "the picture is broken"),
        (saved(ring(), "WEBP")[:200], "the picture is broken"),
        (saved(ring(), "BMP")[:100], "the picture is broken"),
    ],
)
def test_what_is_no_picture(data: bytes, said: str) -> None:
    with pytest.raises(NotAnImage) as error:
        decode(data)
    assert said in error.value.message


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    whole = saved(Image.new("1", (8, 8)))
    head = b"IHDR" + struct.pack(">2I", 20_000, 20_000) + whole[24:29]  # all else would be unpacked later
    bomb = whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:]
    with pytest.raises(TooLarge, match=r"^expected at most 1000000 pixels in this request.*400000000 pixels"):
        decode(bomb)


def test_the_limit_is_for_all_pictures_of_a_request_together() -> None:
    picture = saved(ring((900, 900)))
    assert decode_pictures([picture], RECIPE, "auto", LIMIT).shape == (1, 28, 28)
    said = "^picture 2 of 3: expected at most 190000 more pixels in this request, got 900x900$"
    with pytest.raises(TooLarge, match=said):
        decode_pictures([picture, picture, picture], RECIPE, "auto", LIMIT)
    with pytest.raises(TooLarge, match=r"^expected at most 809999 pixels in this request, got 900x900$"):
        decode_pictures([picture], RECIPE, "auto", 809_999)


def test_of_several_files_the_one_that_is_no_picture_is_named() -> None:
    picture = saved(ring())
    for files, which in (([b"", picture], "1 of 2"), ([picture, picture, b""], "3 of 3")):
        with pytest.raises(NotAnImage, match=f"^picture {which}: expected a picture .*, got no bytes$"):
            decode_pictures(files, RECIPE, "auto", LIMIT)

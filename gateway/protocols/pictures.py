"""A picture file becomes one row of a model's input: any size, any colour mode, light on dark or dark on light."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gateway.core.errors import NotAnImage, TooLarge
from gateway.core.published import ImageRecipe
from gateway.core.tensors import Tensor

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MIDDLE = 127.5


def decode_pictures(files: Sequence[bytes], recipe: ImageRecipe, invert: str, limit_pixels: int) -> Tensor:
    """Return FP32 [files, height, width], pixels 0..1 in the polarity the model wants.

    `invert` is yes, no, or auto: then the border tells which polarity a picture has. `limit_pixels` is for all files
    together, before scaling. Raises NotAnImage, TooLarge; of several files they name the one by its number.
    """
    rows: list[Tensor] = []
    left = limit_pixels
    for file in files:
        try:
            row, pixels = _decode_picture(file, recipe, invert, left, f"{left}{' more' if rows else ''} pixels")
        except (NotAnImage, TooLarge) as error:
            if len(files) == 1:
                raise
            raise type(error)(f"picture {len(rows) + 1} of {len(files)}: {error.message}") from error
        rows.append(row)
        left -= pixels
    return np.stack(rows)


def _decode_picture(data: bytes, recipe: ImageRecipe, invert: str, limit_pixels: int, limit: str) -> tuple[Tensor, int]:
    """The row, and how many pixels the file has; `limit` is the limit in words."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > limit_pixels:
                raise TooLarge(f"expected at most {limit} in this request, got {picture.width}x{picture.height}")
            picture.draft("L", (recipe.width * 4, recipe.height * 4))  # JPEG only: skips detail nobody will see
            gray = _to_gray(picture)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"expected at most {limit} in this request: {error}") from error
    except UnidentifiedImageError as error:
        raise NotAnImage(f"expected a picture ({', '.join(FORMATS)}), got {_describe(data)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        # What Pillow's decoders raise for a file that begins like a picture and does not go on like one.
        raise NotAnImage(f"the picture is broken: {error}") from error
    background = _border_level(gray)
    square = _fit(gray, recipe, background)
    if _must_invert(invert, background, recipe):
        square = ImageOps.invert(square)
    return np.asarray(square, np.float32) / np.float32(255), pixels


def _to_gray(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bit a pixel; Pillow would clip instead of scaling
        return Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        return _flatten(picture.convert("LA"))
    return picture.convert("L")


def _flatten(picture: Image.Image) -> Image.Image:
    """Lay a transparent picture on the background its ink stands out from."""
    level, alpha = picture.split()
    visible = np.asarray(level)[np.asarray(alpha) > _MIDDLE]
    ink = float(visible.mean()) if visible.size else 0.0
    paper = Image.new("L", picture.size, 0 if ink > _MIDDLE else 255)
    paper.paste(level, mask=alpha)
    return paper


def _border_level(gray: Image.Image) -> float:
    pixels = np.asarray(gray)
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    return float(np.median(border))


def _fit(gray: Image.Image, recipe: ImageRecipe, background: float) -> Image.Image:
    """Scale without distortion, the rest filled with the background."""
    size = (recipe.width, recipe.height)
    if gray.size == size:
        return gray
    return ImageOps.pad(gray, size, Image.Resampling.LANCZOS, color=round(background))


def _must_invert(invert: str, background: float, recipe: ImageRecipe) -> bool:
    if invert == "auto":
        is_light_on_dark = background <= _MIDDLE
        return is_light_on_dark != recipe.is_light_on_dark
    return invert == "yes"


def _describe(data: bytes) -> str:
    return f"{len(data)} bytes beginning with {data[:8]!r}" if data else "no bytes"

"""Reads and writes images as arrays. Torch-free, so that a sweep's images are checked before anything starts.

Supported are the formats of :data:`~dip_stages.images.opening.FORMATS`, 8 and 16 bits per channel, grey and colour.
Transparency is composited onto white, palettes are expanded, CMYK is converted by Pillow without a colour profile, EXIF
orientation is applied, and of several images in a file the first is taken. What a file's header promises bounds the
memory and time that reading it takes; a file that holds more is refused.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from dip_stages.errors import ImageError, check_choice
from dip_stages.images.decoding import decode
from dip_stages.images.opening import opened
from dip_stages.images.size import MAX_PIXELS, MIN_SIDE, Size, check_size
from dip_stages.store.files import replacing
from dip_stages.store.hashing import file_sha256
from dip_stages.store.text import os_reason

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["BUNDLED", "FITS", "MAX_PIXELS", "MIN_SIDE", "bundled_path", "fit_to", "read_image", "sha256", "write_png"]

BUNDLED = {
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "camera": "camera.png",
    "brick": "brick.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
}
"""Images in scikit-image's wheel, by name; ``camera`` and the last four are grey."""

FITS = ("cover", "crop", "inside")

_OVERSHOOT = 0.05
"""How far floats may lie outside [0, 1], as resampling leaves them; they are clipped."""

Fit = Literal["cover", "crop", "inside"]


def bundled_path(name: str) -> Path:
    """Return the file of a bundled image, without importing scikit-image.

    Raises:
        ConfigError: If there is no image of that name.
    """
    check_choice("data.name", name, BUNDLED)
    return _skimage_data() / BUNDLED[name]


@functools.cache
def _skimage_data() -> Path:
    spec = importlib.util.find_spec("skimage")
    assert spec is not None  # noqa: S101 - a dependency
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent / "data"


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of an image's file, in hex.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise ImageError(f"cannot be read: {os_reason(error)}", setting=path, allowed="an image file") from error


def read_image(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read an image.

    Args:
        path: A file in one of :data:`~dip_stages.images.opening.FORMATS`, whatever its ending.

    Returns:
        ``(H, W, C)`` float32 in [0, 1]; C is 1 for grey and 3 for colour.

    Raises:
        ImageError: If the file is missing, no image, truncated, larger than :data:`MAX_PIXELS`, smaller than
            :data:`MIN_SIDE` a side, or holds more than its header promises.
    """
    path = Path(path)
    with opened(path) as image:
        check_size(path, Size(image.width, image.height))
        array = decode(path, image).pixels
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():  # both are NaN if a value is
        raise ImageError("got values that are not finite", setting=path, allowed="numbers, 1.0 being white")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(f"its values are {low:g} to {high:g}", setting=path, allowed="0 to 1, 1.0 being white")
    return np.clip(array, 0, 1, out=array).astype(np.float32, copy=False)


def fit_to(image: NDArray[np.float32], size: int | None, fit: str = "cover") -> NDArray[np.float32]:
    """Resize or crop an image.

    Args:
        image: ``(H, W, C)`` float32.
        size: Pixels; ``None`` keeps the image as it is.
        fit: ``cover``: the shorter side becomes ``size`` and the middle square is kept. ``crop``: the middle
            ``size``×``size`` pixels, not resampled. ``inside``: the longer side becomes ``size``, the aspect is kept.

    Returns:
        ``(h, w, C)`` float32 in [0, 1]; Lanczos resampling in floating point, so 16-bit images keep their depth.

    Raises:
        ImageError: If the image is smaller than the crop, or a side becomes smaller than :data:`MIN_SIDE`.
    """
    check_choice("data.fit", fit, FITS)
    if size is None:
        return image
    if fit == "crop":
        _check_crop(image, size)
        return _middle(image, size)
    resized = _resized(image, size, fit)
    return _middle(resized, size) if fit == "cover" else resized


def _check_crop(image: NDArray[np.float32], size: int) -> None:
    height, width = image.shape[:2]
    if size > min(height, width):
        raise ImageError(
            f" with data.fit=crop; the image has {Size(width, height)} pixels",
            setting="data.size",
            got=size,
            allowed=f"at most {min(height, width)}",
        )
    if size < MIN_SIDE:
        raise ImageError(" with data.fit=crop", setting="data.size", got=size, allowed=f"at least {MIN_SIDE}")


def _resized(image: NDArray[np.float32], size: int, fit: str) -> NDArray[np.float32]:
    height, width, channels = image.shape
    scale = size / (min(height, width) if fit == "cover" else max(height, width))
    new = Size(max(1, round(width * scale)), max(1, round(height * scale)))
    if min(new) < MIN_SIDE:
        raise ImageError(
            f", which makes the image {new}", setting="data.size", got=size, allowed=f"at least {MIN_SIDE} a side"
        )
    planes = [Image.fromarray(image[..., c]).resize(new, Image.Resampling.LANCZOS) for c in range(channels)]
    resized: NDArray[np.float32] = np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)
    return resized


def _middle(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def write_png(path: str | os.PathLike[str], image: NDArray[np.float32]) -> None:
    """Write ``(H, W, C)`` float in [0, 1] (clipped) as an 8-bit PNG, whole or not at all."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with replacing(Path(path)) as temporary:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")

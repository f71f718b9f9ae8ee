"""A noisy image's file: its pixels, and everything else that the denoised file must have again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.decoding import TURNED, decode, type_of
from dip_stages.images.metadata import Metadata, metadata_of
from dip_stages.images.opening import frames_of, opened
from dip_stages.images.size import Size, check_size

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Original", "near_unit", "read_original"]

_NEAR = (-1.0, 2.0)
"""Floats between these are taken for an image on [0, 1] with noise, which is not clipped."""

_FARTHEST = 1e30
"""How far outside of black and white a value may be, of their distance: what 32-bit floats hold."""

_MOST_OFF = 0.6
"""How far from mid-grey the mean of an image may be, which noise does not change."""


@dataclass(frozen=True, eq=False)
class Original:
    """What was read from a file.

    Attributes:
        pixels: ``(H, W, C)`` float32, 0 being black and 1 white, unclipped; C is 1 for grey, 3 for colour, 4 for CMYK.
        alpha: The transparency, ``(H, W, 1)`` float32 from 0 to 1; None without one.
        mode: ``L``, ``RGB`` or ``CMYK``, with an ``A`` for transparency.
        kind: The type of the file's values: ``uint8``, ``uint16`` or floats.
        limits: The file's values that are black and white.
        metadata: What else the file says.
        frame: Which image of the file this is, from 0.
        frames: How many there are.
    """

    pixels: NDArray[np.float32]
    mode: str
    kind: np.dtype[Any]
    limits: tuple[float, float]
    alpha: NDArray[np.float32] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    frame: int = 0
    frames: int = 1

    @property
    def depth(self) -> str:
        """The depth, for people: ``8 bits``, ``16 bits``, ``32-bit floats``."""
        return depth_name(self.kind)


def depth_name(kind: np.dtype[Any]) -> str:
    """Return how people call a type of values.

    Example:
        >>> depth_name(np.dtype("u2")), depth_name(np.dtype("f4"))
        ('16 bits', '32-bit floats')
    """
    bits = 8 * kind.itemsize
    return f"{bits}-bit floats" if kind.kind == "f" else f"{bits} bits"


def read_original(
    path: str | os.PathLike[str], *, frame: int = 0, limits: tuple[float, float] | None = None
) -> Original:
    """Read an image with all that its file says of it.

    Args:
        path: A file in one of :data:`~dip_stages.images.opening.FORMATS`, whatever its ending.
        frame: Which of several images in the file, from 0.
        limits: The file's values that are black and white; by default 0 and the largest integer, of floats 0 and 1.

    Raises:
        ConfigError: If black is not below white.
        ImageError: If the file cannot be read, or its values lie far outside of the limits.
    """
    path = Path(path)
    if limits is not None and not -np.inf < limits[0] < limits[1] < np.inf:
        raise ConfigError(setting="--range", got=" ".join(_digits(*limits)), allowed="black, then white, which is more")
    with opened(path, frame) as image:
        check_size(path, Size(image.width, image.height))
        frames, kind = frames_of(path, image), type_of(path, image)
        cmyk = image.mode == "CMYK" or getattr(image, "tag_v2", {}).get(262) == 5
        pixels, orientation = decode(path, image, flat=False)
        transparent = pixels.shape[2] in (2, 5) or (pixels.shape[2] == 4 and not cmyk)
        alpha = pixels[..., -1:].astype(np.float32) if transparent else None
        pixels = np.ascontiguousarray(pixels[..., :-1]) if transparent else pixels
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[pixels.shape[2]] + "A" * transparent
        metadata = metadata_of(path, image, mode, turned=orientation in TURNED)
    white = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    return Original(
        pixels=_scaled(path, pixels, white, limits),
        mode=mode,
        kind=kind,
        limits=limits or (0.0, white),
        alpha=alpha,
        metadata=metadata,
        frame=frame,
        frames=frames,
    )


def _scaled(
    path: Path, pixels: NDArray[np.floating[Any]], white: float, limits: tuple[float, float] | None
) -> NDArray[np.float32]:
    """Map the limits to 0 and 1, in place and in double precision, and check that the values suit them."""
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():  # both are NaN if a value is
        raise ImageError("got values that are not finite", setting=path, allowed="numbers")
    mean = float(pixels.mean(dtype=np.float64))
    if limits is None:
        if not near_unit(low, high):
            strong = "; --range 0 1 for strong noise" if _suits(low, high, mean, (0, 1)) else ""
            raise ImageError(
                f"its values are {' to '.join(_digits(low, high))}, far outside of 0 to 1",
                setting=path,
                allowed=f"--range {_suggested(low, high, mean)} if these are black and white{strong}",
            )
        return pixels.astype(np.float32, copy=False)
    black, span = limits[0] / white, (limits[1] - limits[0]) / white
    if not _suits(low, high, mean, (black, black + span)):
        raise ImageError(
            f" as black and white, but the mean of the values is {mean * white:g}",
            setting="--range",
            got=" ".join(_digits(*limits)),
            allowed=f"black and white of {path}, whose values are {' to '.join(_digits(low * white, high * white))}",
        )
    for ufunc, number in ((np.subtract, black), (np.divide, span)):
        ufunc(pixels, number, out=pixels, dtype=np.float64, casting="same_kind")
    return pixels.astype(np.float32, copy=False)


def near_unit(low: float, high: float) -> bool:
    """Return whether floats between these are taken for an image on [0, 1] with noise, which is not clipped."""
    return _NEAR[0] <= low and high <= _NEAR[1]


def _suits(low: float, high: float, mean: float, limits: tuple[float, float]) -> bool:
    """Whether these may be black and white of an image, by its mean and by how far its values are outside."""
    span = limits[1] - limits[0]
    outside = max(limits[0] - low, high - limits[1]) / span
    return abs((mean - limits[0]) / span - 0.5) <= _MOST_OFF and outside <= _FARTHEST


def _suggested(low: float, high: float, mean: float) -> str:
    """Return what black and white of floats most likely are: of a usual scale, or their limits."""
    usual = (white for white in (255, 1023, 4095, 16383, 65535) if white / 8 < high <= 1.5 * white)
    if low >= -high and (white := next((white for white in usual if _suits(low, high, mean, (0, white))), None)):
        return f"0 {white}"
    return " ".join(_digits(low, high) if low < high else _digits(*sorted((0.0, low))))


def _digits(low: float, high: float) -> tuple[str, str]:
    """Return two numbers for people, with as many digits as distinguish them well.

    Example:
        >>> _digits(0, 254.64583), _digits(1e8, 1e8 + 1)
        (('0', '254.646'), ('100000000', '100000001'))
    """
    for digits in range(6, 18):
        shown = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if abs(float(shown[0]) - low) + abs(float(shown[1]) - high) <= (high - low) / 1000:
            break
    return shown

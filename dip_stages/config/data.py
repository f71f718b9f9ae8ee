"""Settings of the observation: the image (``data``) and its noise (``noise``)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.config.own import OwnOption, optional
from dip_stages.errors import ConfigError, check_choice, check_range
from dip_stages.images.folders import image_in_folder
from dip_stages.images.netpbm import write_pfm
from dip_stages.images.reading import BUNDLED, FITS, MIN_SIDE, bundled_path
from dip_stages.images.sources import cache_folder, image_of_dataset
from dip_stages.store.files import replacing
from dip_stages.store.hashing import content_sha256

__all__ = [
    "SIGMAS",
    "BundledData",
    "DataConfig",
    "FileData",
    "FolderData",
    "HubData",
    "NoiseConfig",
    "OwnData",
    "file_of",
    "name_of",
]

SIGMAS = ("known", "estimate")
"""Where the noise level is from: what the noise was made with, or the observed image."""


@dataclass(frozen=True)
class NoiseConfig(Section, section="noise"):
    """The observation's noise: its variance on the [0, 1] scale, and which (:func:`dip_stages.dip.noise.corrupted`)."""

    beta_max: float = bounded(0.01, above=0, below=1)
    name: str = choice("gaussian", ("gaussian", "clipped", "poisson", "speckle"))


@dataclass(frozen=True)
class _SizedData(Section, section="data"):
    size: int | None = bounded(128, at_least=MIN_SIDE, at_most=8192)
    fit: str = choice("cover", FITS)


@dataclass(frozen=True)
class BundledData(_SizedData):
    """An image of scikit-image's wheel."""

    source: str = "bundled"
    name: str = choice("rocket", BUNDLED)


@dataclass(frozen=True)
class FileData(_SizedData):
    """A clean image of the user's own."""

    source: str = "file"
    path: str = "???"


@dataclass(frozen=True)
class FolderData(_SizedData):
    """A clean image of a folder; see :func:`dip_stages.images.folders.image_in_folder`."""

    index: int = bounded(0, at_least=0)
    source: str = "folder"
    path: str = "???"


@dataclass(frozen=True)
class HubData(_SizedData):
    """An image of a data set of the Hugging Face hub; see :class:`dip_stages.images.column.Column`."""

    index: int = bounded(0, at_least=0)
    source: str = "hub"
    dataset: str = "???"
    config: str | None = None
    split: str = "train"
    column: str = "image"
    streaming: bool = True


@dataclass(frozen=True)
class OwnData(OwnOption):
    """A function that returns a clean image: its file, or ``(H, W)`` or ``(H, W, C)`` floats in [0, 1]."""

    section = "data"
    own = {  # noqa: RUF012 - of the class
        "size": optional(partial(check_range, at_least=MIN_SIDE, at_most=8192)),
        "fit": partial(check_choice, allowed=FITS),
    }
    source: ClassVar[str] = "own"

    size: int | None = 128
    fit: str = "cover"


DataConfig = BundledData | FileData | FolderData | HubData | OwnData


def file_of(data: DataConfig) -> Path:
    """Return the file of the image; an image of a data set is fetched first, once.

    Raises:
        ConfigError: If the folder or data set has no such image.
        ImageError: If the folder cannot be read, or the data set cannot be had.
    """
    match data:
        case BundledData():
            return bundled_path(data.name)
        case FileData():
            return Path(data.path).expanduser()
        case FolderData():
            return image_in_folder(data.path, data.index)
        case HubData():
            return image_of_dataset(
                data.dataset, data.split, data.column, data.index, config=data.config, streaming=data.streaming
            )
        case OwnData():
            return _own_file(data)


def name_of(data: DataConfig) -> str:
    """Return the image's name for people: a file's without its ending, a data set's with the row.

    The name of a data set has its configuration, split and column too, unless they are none, ``train`` and ``image``.

    Raises:
        ConfigError: As :func:`file_of`.
        ImageError: As :func:`file_of`.
    """
    match data:
        case BundledData():
            return data.name
        case HubData():
            parts = [data.config, data.split if data.split != "train" else None]
            parts.append(data.column if data.column != "image" else None)
            return "-".join([Path(data.dataset).name, *filter(None, parts), str(data.index)]).replace("/", "-")
        case OwnData():
            return "-".join([data.name, *(f"{value}" for value in data.settings.values())])
        case _:
            return file_of(data).stem


@functools.cache
def _own_file(data: OwnData) -> Path:
    """Return the file of an image of one's own; an array is written to the cache, named after its content."""
    returned = data.call_now()
    if isinstance(returned, (str, Path)):
        return Path(returned).expanduser()
    shape = getattr(returned, "shape", ())
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)):
        allowed = "a path, or floats in [0, 1] of (H, W), (H, W, 1) or (H, W, 3)"
        got = f"{type(returned).__name__} {shape or ''}".strip()
        raise ConfigError(f"{data.target} has returned {got}", setting="data", allowed=allowed)
    pixels = np.asarray(returned, np.float32).reshape(*shape[:2], -1)
    path = cache_folder() / "own" / f"{content_sha256(pixels.tobytes())[:16]}-{pixels.shape[1]}x{pixels.shape[0]}.pfm"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            write_pfm(file, pixels)
    return path

"""Settings of the observation: the image (``data``) and its noise (``noise``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.images.folders import image_in_folder
from dip_stages.images.reading import BUNDLED, FITS, MIN_SIDE, bundled_path
from dip_stages.images.sources import image_of_dataset

__all__ = [
    "SIGMAS",
    "BundledData",
    "DataConfig",
    "FileData",
    "FolderData",
    "HubData",
    "NoiseConfig",
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


DataConfig = BundledData | FileData | FolderData | HubData


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
        case _:
            return file_of(data).stem

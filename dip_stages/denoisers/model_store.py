"""Trained models on disk: which one a DDPM cell needs, where it is, and whether it is the right one. Torch-free.

A model's folder is named after a hash of its training images and settings, so all cells that need it find it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.config.competitors import MIN_IMAGES
from dip_stages.config.paths import MODELS
from dip_stages.errors import ConfigError, ModelError
from dip_stages.images.column import Column
from dip_stages.images.folders import images_in_folder
from dip_stages.images.reading import bundled_path, read_image, sha256
from dip_stages.images.sources import images_of_dataset
from dip_stages.store.hashing import settings_id

if TYPE_CHECKING:
    from dip_stages.config import DDPMConfig, TrainingConfig

__all__ = [
    "MODEL",
    "TRAINED",
    "check_ddpm",
    "check_model",
    "check_training",
    "model_folder",
    "models_folder",
    "training_id",
    "training_images",
    "training_settings",
]

MODEL = "model.json"
"""Settings and origin of a trained model; written last, so that a folder with it is complete."""

TRAINED = "model.pt"

_NUMERICS = 1
"""Version of the training: raised when the same settings would give another model than before."""

_NAMES = ("source", "pictures", "path", "dataset", "config", "split", "column", "streaming", "rows")
"""The settings that name images; a model is identified by the images' content instead."""


def training_images(training: TrainingConfig) -> list[Path]:
    """Return the files of the training images; those of a data set are fetched once.

    Raises:
        ConfigError: If there are fewer than :data:`~dip_stages.config.competitors.MIN_IMAGES`.
        ImageError: If they cannot be read or fetched.
    """
    if training.source == "bundled":
        return [bundled_path(name) for name in dict.fromkeys(training.pictures)]
    if training.source == "hub":  # the first row is the course report's image, which is to be denoised
        section, config, streaming = training.section, training.config, training.streaming
        column = Column(training.dataset, training.split, training.column, config, streaming, section)
        return images_of_dataset(column, range(1, training.rows + 1))
    found = images_in_folder(str(training.path))[: training.rows]
    if len({sha256(path) for path in found}) < MIN_IMAGES:
        raise ConfigError(
            f", with fewer than {MIN_IMAGES} different images",
            setting="method.training.path",
            got=training.path,
            allowed="a folder of more",
        )
    return found


def training_settings(training: TrainingConfig, channels: int) -> dict[str, Any]:
    """Return all settings that identify a trained model, as plain values.

    Args:
        training: Its training images and settings.
        channels: Of the images that it is for: 1 or 3.

    Raises:
        ConfigError: As :func:`training_images`.
        ImageError: If an image cannot be read: its contents are part of the identity.
    """
    settings = {key: value for key, value in dataclasses.asdict(training).items() if key not in _NAMES}
    contents = [sha256(path) for path in training_images(training)]
    return {**settings, "pictures": contents, "channels": channels, "numerics": _NUMERICS}


def models_folder(outputs: Path) -> Path:
    """Return the folder of all trained models in the folder ``outputs``."""
    return outputs / MODELS


def model_folder(models: Path, settings: dict[str, Any]) -> Path:
    """Return the folder of the model with these settings; it need not exist."""
    return models / f"ddpm-{settings_id(settings)}"


def training_id(training: TrainingConfig) -> str:
    """Return a hash of all that identifies a model but its channels, which the cell's image determines.

    Raises:
        ConfigError: As :func:`training_images`.
        ImageError: As :func:`training_settings`.
    """
    return settings_id(training_settings(training, channels=0))


def check_model(folder: Path, settings: dict[str, Any]) -> None:
    """Check that a folder holds a model of these settings.

    Raises:
        ModelError: If it holds none, or another one; the message lists the differences.
    """
    try:
        found = dict(json.loads((folder / MODEL).read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"holds no trained model: {error}", setting=folder, allowed=f"a folder with {MODEL}"
        ) from error
    unlike = [key for key in settings if found.get(key) != settings[key]]
    if unlike:
        differ = "; ".join(f"{key}: got {_short(found.get(key))}, wanted {_short(settings[key])}" for key in unlike)
        raise ModelError(
            f"a model of another setting: {differ}",
            setting=folder,
            allowed="one trained as method.training says, or method.model=null",
        )
    if not (folder / TRAINED).exists():
        raise ModelError(f"{TRAINED} is not there", setting=folder, allowed="the whole folder of a training")


def _short(value: object) -> str:
    return f"{len(value)} other images" if isinstance(value, list) and len(value) > 3 else repr(value)


def check_training(training: TrainingConfig) -> None:
    """Check the images that a model is to learn from, each once per process.

    Raises:
        ConfigError: If there are too few.
        ImageError: If one cannot be used.
    """
    for path in training_images(training):
        _check_image(path, sha256(path))


def check_ddpm(method: DDPMConfig, image: Path, channels: int, sigma: float) -> None:
    """Check what a DDPM cell needs, before any compute.

    Args:
        method: The cell's.
        image: File of the image to denoise.
        channels: Of that image.
        sigma: Standard deviation of its noise, on [0, 1].

    Raises:
        ConfigError: If the image to denoise is a training image, there are too few of these, or the image's noise is
            stronger than any in the training.
        ModelError: If ``method.model`` names a model of other settings.
        ImageError: If an image to learn from cannot be used.
    """
    check_training(method.training)
    settings = training_settings(method.training, channels)
    strongest = _strongest(method.training)
    if method.sigma == "known" and sigma > strongest:
        raise ConfigError(
            f"its noise ends at sigma {strongest:.3g} on [0, 1], the image's is {sigma:.3g}",
            setting="method.training",
            allowed="more timesteps, or a larger beta_end",
        )
    if sha256(image) in settings["pictures"]:
        raise ConfigError(
            f"the image to denoise, {image.name}, is among those that the model learns from",
            setting="method.training",
            allowed="another image, or training images without it",
        )
    if method.model is not None:
        check_model(Path(method.model).expanduser(), settings)


def _strongest(training: TrainingConfig) -> float:
    """Return the standard deviation on [0, 1] of the noise at the last timestep."""
    steps = max(1, training.timesteps - 1)
    slope = (training.beta_end - training.beta_start) / steps
    kept = math.prod(1 - training.beta_start - slope * step for step in range(training.timesteps))
    return math.sqrt((1 - kept) / kept) / 2 if kept > 0 else math.inf


@functools.cache
def _check_image(path: Path, _contents: str) -> None:
    read_image(path)

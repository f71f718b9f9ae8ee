"""A cell: one point of a grid, and its identity."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.cells.settings import settings_of
from dip_stages.config import Config, DDPMConfig, PerceptualConfig, check_extras, file_of
from dip_stages.config.competitors import draws, option_of
from dip_stages.config.data import name_of
from dip_stages.config.own import own_options
from dip_stages.denoisers.model_store import check_ddpm
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.images.reading import fit_to, read_image, sha256
from dip_stages.store.hashing import settings_id

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.config import CompetitorConfig, DataConfig

__all__ = [
    "AXES",
    "NUMERICS",
    "QUALIFIERS",
    "Cell",
    "cell_of",
    "check_inputs",
    "image_shape",
]

NUMERICS = 3
"""Version of the numerics: raised when the same configuration would give other numbers than before."""

AXES = (
    "method",
    "protocol",
    "arch",
    "beta_max",
    "noise",
    "scheduler",
    "loss",
    "budget",
    "input",
    "average",
    "stopping",
    "members",
    "image",
    "seed",
    "noise_seed",
)
"""The axes of every table, in the order of its columns."""

QUALIFIERS = ("kind", "features", "loss_reference", "sigma_source")
"""Fields beside the axes, each of which qualifies one of them.

``kind`` of the method: ``fit``, ``competitor``, or ``trained competitor``, which was trained on other images.
``features`` of a perceptual loss: ``random`` or ``pretrained``; ``loss_reference``: what it compares with, ``target``
or ``clean``. ``sigma_source`` of the stopping rule or the competitor: ``known`` or ``estimate``. ``None`` where a cell
has no such thing.
"""


@dataclass(frozen=True)
class Cell:
    """One point of a grid.

    Attributes:
        config: The typed configuration.
        settings: The settings that change the result, as plain nested values.
        id: Hash of ``settings``: the same however the cell's overrides are written.
        axes: Values of :data:`AXES` and :data:`QUALIFIERS`; ``None`` where one does not apply to the method.
    """

    config: Config
    settings: dict[str, Any]
    id: str
    axes: dict[str, Any]

    @property
    def folder(self) -> str:
        """The cell's folder name: readable, and unique by its id."""
        parts = [
            self.axes["method"],
            self.axes["protocol"],
            self.axes["arch"],
            self.axes["scheduler"],
            self.axes["loss"] if self.config.staged else None,
            self.axes["features"],
            f"b{self.axes['beta_max']:g}",
            self.axes["noise"] if self.axes["noise"] != "gaussian" else None,
            self.axes["image"],
            f"s{self.axes['seed']}" if self.axes["seed"] is not None else None,
        ]
        name = "-".join(str(part) for part in parts if part is not None)
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:120]}-{self.id}"


def cell_of(config: Config) -> Cell:
    """Return the cell of a configuration.

    Raises:
        ImageError: If the image's file cannot be read: its contents are part of the identity.
    """
    settings = settings_of(config) | {"numerics": NUMERICS}
    return Cell(config, settings, settings_id(settings), _axes(config))


def check_inputs(cell: Cell) -> None:
    """Check what a cell needs on this machine, before any compute; each file is read once a process.

    Raises:
        ConfigError: If an extra is not installed, or a model was trained on the image that it is to denoise.
        ModelError: If a trained model that is given is another than the one wanted.
        ImageError: If the image cannot be used.
        WeightsError: If published weights cannot be had.
    """
    config = cell.config
    check_extras(config)
    for option in own_options(config):
        option.check()
    shape = image_shape(config.data)
    if isinstance(config.method, DDPMConfig):
        check_ddpm(config.method, file_of(config.data), shape[2], config.noise.beta_max**0.5)
    loss = config.loss
    if config.staged and isinstance(loss, PerceptualConfig) and loss.features == "pretrained":
        _check_weights(loss.path)


def image_shape(data: DataConfig) -> tuple[int, int, int]:
    """Return height, width and channels of the image that is fitted; it is read once a process.

    Raises:
        ImageError: If it cannot be used.
    """
    file = file_of(data)
    return _shape(file, sha256(file), data.size, data.fit)


@functools.cache
def _shape(file: Path, _contents: str, size: int | None, fit: str) -> tuple[int, int, int]:
    height, width, channels = fit_to(read_image(file), size, fit).shape
    return height, width, channels


@functools.cache
def _check_weights(path: str | None) -> None:
    published_vgg16(path)


def _axes(config: Config) -> dict[str, Any]:
    observation = {
        "beta_max": config.noise.beta_max,
        "noise": config.noise.name,
        "image": name_of(config.data),
        "noise_seed": config.noise_seed,
    }
    own = _axes_of_competitor(config.competitor, config.seed) if config.competitor else _axes_of_fit(config)
    return dict.fromkeys((*AXES, *QUALIFIERS)) | observation | own


def _axes_of_fit(config: Config) -> dict[str, Any]:
    own = {
        "method": config.method.name,
        "arch": config.arch.name,
        "loss": "mse",
        "input": config.net_input,
        "average": config.average.name,
        "stopping": config.stopping.name,
        "members": config.ensemble.members,
        "seed": config.seed,
        "kind": "fit",
        "sigma_source": getattr(config.stopping, "sigma", None),
    }
    return own | _axes_of_stages(config) if config.staged else own


def _axes_of_stages(config: Config) -> dict[str, Any]:
    loss = config.loss
    qualifiers = (
        {"features": loss.features, "loss_reference": loss.reference} if isinstance(loss, PerceptualConfig) else {}
    )
    return {
        "protocol": config.protocol.name,
        "scheduler": config.scheduler.name if config.levels_matter else None,
        "loss": loss.name,
        "budget": None if config.stages_alike else config.budget.name,
        **qualifiers,
    }


def _axes_of_competitor(method: CompetitorConfig, seed: int) -> dict[str, Any]:
    return {
        "method": option_of(method),
        "seed": seed if draws(method) else None,
        "kind": "trained competitor" if isinstance(method, DDPMConfig) else "competitor",
        "sigma_source": method.sigma,
    }

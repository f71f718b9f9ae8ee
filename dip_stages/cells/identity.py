"""A cell: one point of a grid, and its identity."""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from dip_stages.config import Config, DDPMConfig, PerceptualConfig, check_extras, file_of
from dip_stages.config.competitors import option_of
from dip_stages.config.data import name_of
from dip_stages.denoisers.model_store import check_ddpm, training_id
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.images.reading import fit_to, read_image, sha256
from dip_stages.store.hashing import settings_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dip_stages.config import CompetitorConfig, DataConfig

__all__ = [
    "AXES",
    "NEUTRAL",
    "NUMERICS",
    "QUALIFIERS",
    "STAGED",
    "Cell",
    "cell_of",
    "check_inputs",
    "image_shape",
    "neutral_values",
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
"""The axes that every table knows, in the order in which tables show them."""

QUALIFIERS = ("kind", "features", "loss_reference", "sigma_source")
"""Fields beside the axes, which say more about one of them.

``kind`` of the method: ``fit``, ``competitor``, or ``trained competitor``, which has learnt from other images.
``features`` of a perceptual loss: ``random`` or ``pretrained``; ``loss_reference``: what it compares with, ``target``
or ``clean``. ``sigma_source`` of the stopping rule or the competitor: ``known`` or ``estimate``. ``None`` where a cell
has no such thing.
"""

STAGED = ("scheduler", "budget", "protocol", "loss")
"""Sections that the baseline ignores."""


def neutral_values(schema: type) -> dict[str, Any]:
    """Return the neutral values of a configuration's settings, by key.

    A setting added later names one as ``field(default=..., metadata={"neutral": value})``: the value that computes
    what was computed before there was the setting. With it the setting is no part of an identity, so that older cells
    keep theirs.

    Args:
        schema: A dataclass of sections, such as :class:`~dip_stages.config.Config`.
    """
    return {
        f"{section}.{field.name}": field.metadata["neutral"]
        for section, hint in get_type_hints(schema).items()
        for part in get_args(hint) or (hint,)
        if dataclasses.is_dataclass(part)
        for field in dataclasses.fields(part)
        if field.metadata.get("neutral") is not None
    }


NEUTRAL = neutral_values(Config)
"""Values of settings that a cell's identity does not name, but None."""


@dataclass(frozen=True)
class Cell:
    """One point of a grid.

    Attributes:
        config: The typed configuration.
        settings: All that changes the result, as plain nested values; what a method ignores is not in it.
        id: Hash of ``settings``: the same for every way of writing the same cell down.
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
    settings = _settings(config)
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


def _settings(config: Config) -> dict[str, Any]:
    if config.competitor:
        return _of_competitor(config)
    everything = _counted(config)
    for key in ("logger", "runtime"):
        del everything[key]
    everything["monitors"] = {label: _counted(rule) for label, rule in config.active_monitors.items()}
    for section, names in _ignored(config).items():
        for name in names:
            everything[section].pop(name, None)
        if not everything[section]:
            del everything[section]
    everything["method"]["input"] = config.net_input
    return everything | _of_image(config)


def _of_competitor(config: Config) -> dict[str, Any]:
    """Return the settings of a method that fits no network: its own, and those of the observation."""
    everything: dict[str, Any] = {"method": _counted(config.method), "noise": _counted(config.noise)}
    everything["noise_seed"] = config.noise_seed
    if isinstance(config.method, DDPMConfig):
        # A model is identified by what it was trained on and how, not by where it lies.
        del everything["method"]["model"]
        if config.method.reverse == "mean":  # which draws nothing
            del everything["method"]["samples"]
        everything["method"]["training"] = training_id(config.method.training)
        if _draws(config.method):
            everything["seed"] = config.seed
    return everything | _of_image(config)


def _draws(method: CompetitorConfig) -> bool:
    """Whether a competitor draws random numbers, so that its seed counts."""
    return isinstance(method, DDPMConfig) and method.reverse == "ancestral"


def _of_image(config: Config) -> dict[str, Any]:
    """Return the settings that say which image is denoised, and the numerics."""
    fit = config.data.fit if config.data.size is not None else None
    data = {"image": sha256(file_of(config.data)), "size": config.data.size, "fit": fit}
    return {"data": data, "numerics": NUMERICS}


def _counted(part: Any) -> dict[str, Any]:
    """Return a dataclass as nested values, without the fields that have their neutral value."""
    values = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if "neutral" not in field.metadata or value != field.metadata["neutral"]:
            values[field.name] = _counted(value) if dataclasses.is_dataclass(value) else value
    return values


def _ignored(config: Config) -> dict[str, Iterable[str]]:
    """Return the settings of each section that change nothing, given the others; tests fit cells with and without."""
    ignored: dict[str, Iterable[str]] = {
        "method": _ignored_of_method(config),
        "trainer": _ignored_of_trainer(config),
        "ensemble": (),
    }
    if not config.staged:
        return ignored | {section: vars(getattr(config, section)) for section in STAGED}
    if isinstance(config.loss, PerceptualConfig):
        # Weights are identified by the one checksum that is accepted, not by where they lie.
        ignored["loss"] = ("path", "seed") if config.loss.features == "pretrained" else ("path",)
    if config.budget.name == "constant":
        ignored["budget"] = ("alpha", "k", "max_epochs") if config.budget.rescale else ("alpha", "k")
    if _levels_do_not_matter(config):
        ignored["scheduler"] = ("name", "beta_start")
    if config.stages_alike:
        ignored |= {section: vars(getattr(config, section)) for section in ("scheduler", "budget")}
    if not config.recorrupted:
        ignored["protocol"] = ("alpha", "last_alpha", "sigma")
    return ignored


def _ignored_of_method(config: Config) -> tuple[str, ...]:
    own: tuple[str, ...] = () if config.method.name == "aseqdip" else ("penalty", "refresh")
    if config.recorrupted:
        own = (*own, "jitter")
    if config.net_input == "previous_output":
        return (*own, "input_channels")
    if config.net_input in ("observed", "own_output"):
        return (*own, "input_channels", "input_scale", "carry")
    # noise_and_previous always feeds on the average; fixed noise on nothing that was there before.
    return (*own, "carry")


def _ignored_of_trainer(config: Config) -> tuple[str, ...]:
    own = tuple(name for name in ("lr", "jitter") if getattr(config.fit, name) is not None)
    if config.recorrupted and "jitter" not in own:
        own = (*own, "jitter")
    own_budget = config.staged and not config.stages_alike and not config.budget.rescale
    return (*own, "iterations") if own_budget else own


def _levels_do_not_matter(config: Config) -> bool:
    """Whether the stages' betas change neither targets nor budgets."""
    if config.stages_alike:
        return True
    return config.protocol.name in ("observed", "recorrupted") and config.budget.name == "constant"


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
        "scheduler": None if _levels_do_not_matter(config) else config.scheduler.name,
        "loss": loss.name,
        "budget": None if config.stages_alike else config.budget.name,
        **qualifiers,
    }


def _axes_of_competitor(method: CompetitorConfig, seed: int) -> dict[str, Any]:
    return {
        "method": option_of(method),
        "seed": seed if _draws(method) else None,
        "kind": "trained competitor" if isinstance(method, DDPMConfig) else "competitor",
        "sigma_source": method.sigma,
    }

"""Which settings of a configuration change a cell's result, and are therefore part of its identity. Torch-free."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from dip_stages.config import Config, DDPMConfig, PerceptualConfig, file_of
from dip_stages.config.competitors import draws
from dip_stages.config.method import OwnMethod
from dip_stages.config.own import OwnOption
from dip_stages.denoisers.model_store import training_id
from dip_stages.images.reading import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NEUTRAL", "STAGED", "neutral_values", "settings_of"]

ALL: tuple[str, ...] = ("*",)
"""All settings of a section."""

STAGED = ("scheduler", "budget", "protocol", "loss")
"""Sections that only the staged method uses."""


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


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings that change a cell's result, as plain nested values; what a method ignores is not in them.

    Raises:
        ConfigError: If a folder or a data set has no such image.
        ImageError: If the image's file cannot be read: its contents are part of the identity.
    """
    if config.competitor:
        return _of_competitor(config)
    everything = _counted(config)
    for key in ("logger", "runtime"):
        del everything[key]
    everything["monitors"] = {label: _counted(rule) for label, rule in config.active_monitors.items()}
    for section, names in _ignored(config).items():
        for name in list(everything[section]) if names is ALL else names:
            everything[section].pop(name, None)
        if not everything[section]:
            del everything[section]
    everything["method"]["input"] = config.net_input
    return everything | _of_image(config)


def _of_competitor(config: Config) -> dict[str, Any]:
    """Return a competitor's settings and those of the observation."""
    everything: dict[str, Any] = {"method": _counted(config.method), "noise": _counted(config.noise)}
    everything["noise_seed"] = config.noise_seed
    if isinstance(config.method, DDPMConfig):
        # A model is identified by its training, not by its folder.
        del everything["method"]["model"]
        everything["method"]["training"] = training_id(config.method.training)
        if draws(config.method):
            everything["seed"] = config.seed
        else:
            del everything["method"]["samples"]
    return everything | _of_image(config)


def _of_image(config: Config) -> dict[str, Any]:
    """Return the settings that identify the image to denoise."""
    fit = config.data.fit if config.data.size is not None else None
    data = {"image": sha256(file_of(config.data)), "size": config.data.size, "fit": fit}
    return {"data": data}


def _counted(part: Any) -> dict[str, Any]:
    """Return a dataclass as nested values, without the fields that have their neutral value."""
    if isinstance(part, OwnOption):
        return part.counted
    values = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if "neutral" not in field.metadata or value != field.metadata["neutral"]:
            values[field.name] = _counted(value) if dataclasses.is_dataclass(value) else value
    return values


def _ignored(config: Config) -> dict[str, Iterable[str]]:
    """Return the settings of each section that change nothing, given the others; tests compare fits to hold this."""
    ignored: dict[str, Iterable[str]] = {
        "method": _ignored_of_method(config),
        "trainer": _ignored_of_trainer(config),
        "ensemble": (),
    }
    if not config.staged:
        return ignored | dict.fromkeys(STAGED, ALL)
    if isinstance(config.loss, PerceptualConfig):
        # Only weights of one checksum are accepted, so their file does not count.
        ignored["loss"] = ("path", "seed") if config.loss.features == "pretrained" else ("path",)
    if config.budget.name == "constant":
        ignored["budget"] = ("alpha", "k", "max_epochs") if config.budget.rescale else ("alpha", "k")
    if not config.levels_matter:
        ignored["scheduler"] = [key for key in _counted(config.scheduler) if key != "stages"]
    if config.stages_alike:
        ignored |= dict.fromkeys(("scheduler", "budget"), ALL)
    if not config.recorrupted:
        ignored["protocol"] = ("alpha", "last_alpha", "sigma")
    return ignored


def _ignored_of_method(config: Config) -> tuple[str, ...]:
    used = config.method.name == "aseqdip" or isinstance(config.method, OwnMethod)  # which may have such settings
    own: tuple[str, ...] = () if used else ("penalty", "refresh")
    if config.recorrupted:
        own = (*own, "jitter")
    if config.net_input == "previous_output":
        return (*own, "input_channels")
    if config.net_input in ("observed", "own_output"):
        return (*own, "input_channels", "input_scale", "carry")
    # noise_and_previous is always fed the average; fixed_noise is fed nothing from an earlier stage.
    return (*own, "carry")


def _ignored_of_trainer(config: Config) -> tuple[str, ...]:
    own = tuple(name for name in ("lr", "jitter") if getattr(config.fit, name) is not None)
    if config.recorrupted and "jitter" not in own:
        own = (*own, "jitter")
    own_budget = config.staged and not config.stages_alike and not config.budget.rescale
    return (*own, "iterations") if own_budget else own

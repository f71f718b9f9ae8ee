"""Hydra as the sweeper has it, for tests of planning; needs the fixture ``composing``, which initialises it."""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from dip_stages.sweep.compose import Composer
from dip_stages.sweep.config_cache import reading_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra._internal.defaults_list import DefaultsList
    from hydra._internal.hydra import Hydra
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override


class Composing:
    """Composes as the command line does; what differs by values alone shares a composition.

    Hydra sets values last, one by one: here it sets them on a copy of what the choices of groups gave.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = reading_once(loader)
        self._repository = ConfigRepository(loader.get_search_path())
        self._parser = OverridesParser.create(config_loader=loader)
        self._of_choices: dict[tuple[str, ...], bytes] = {}

    def __call__(self, *overrides: str) -> DictConfig:
        try:
            parsed = self._parser.parse_overrides(list(overrides))
            values = [override for override in parsed if self._is_value(override)]
            config = self._composed(tuple(str(override.input_line) for override in parsed if override not in values))
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
        except HydraException:
            return compose("config", overrides=list(overrides))  # which refuses it in its own words
        return config

    def _is_value(self, override: Override) -> bool:
        if override.is_sweep_override() or override.is_hydra_override():
            return False
        return isinstance(override.value(), dict) or not self._repository.group_exists(override.key_or_group)

    def _composed(self, choices: tuple[str, ...]) -> DictConfig:
        if choices not in self._of_choices:
            config = self._loader.load_configuration("config", list(choices), RunMode.RUN, from_shell=False)
            with open_dict(config):
                del config["hydra"]
            self._of_choices[choices] = pickle.dumps(config)
        config = pickle.loads(self._of_choices[choices])  # noqa: S301 - what was pickled above
        assert isinstance(config, DictConfig)
        return config


class CountingLoader:
    """Hydra's loader; it notes what is composed, and composes nothing twice."""

    def __init__(self, loader: ConfigLoader, known: dict[Any, Any] | None = None) -> None:
        self.loader = loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self._known = {} if known is None else known

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def compute_defaults_list(self, config_name: str, overrides: list[str], run_mode: RunMode) -> DefaultsList:
        key = (config_name, tuple(overrides), run_mode)
        if key not in self._known:
            self._known[key] = self.loader.compute_defaults_list(config_name, overrides, run_mode)
        found: DefaultsList = self._known[key]
        return found

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        key = (tuple(master.hydra.overrides.hydra), tuple(overrides))
        if key not in self._known:
            self._known[key] = self.loader.load_sweep_config(master, overrides)
        config: DictConfig = self._known[key]
        self.composed[tuple(overrides)] = config
        return config


def shared_hydra() -> Hydra:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra


def hydra_of_a_sweep(*arguments: str) -> tuple[ConfigLoader, DictConfig]:
    """Return Hydra's loader and what it composes for a sweep as a whole."""
    hydra = shared_hydra()
    return hydra.config_loader, hydra.compose_config("config", list(arguments), RunMode.MULTIRUN)


@functools.cache
def _of_all_tests(hydra: Hydra) -> tuple[ConfigLoader, dict[Any, Any]]:
    return reading_once(hydra.config_loader), {}


def a_counting_loader() -> CountingLoader:
    """Return a loader that reads and composes once for all tests, and counts for itself."""
    return CountingLoader(*_of_all_tests(shared_hydra()))


@functools.cache
def _master(hydra: Hydra) -> DictConfig:
    del hydra  # in use
    return a_counting_loader().loader.load_configuration("config", [], RunMode.MULTIRUN)


def a_composer(points: Sequence[tuple[str, ...]]) -> tuple[Composer, CountingLoader]:
    loader = a_counting_loader()
    return Composer(loader, _master(shared_hydra()), points), loader  # type: ignore[arg-type]


def plain(config: Any) -> dict[str, Any]:
    """Return a config as plain values, less Hydra's own."""
    values = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}

"""Hydra as the sweeper has it, for tests of planning; needs the fixture ``composing``, which initialises it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dip_stages.sweep.compose import Composer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.config_loader import ConfigLoader


class CountingLoader:
    """Hydra's loader; it notes what is composed, and composes nothing twice."""

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        if tuple(overrides) not in self.composed:
            self.composed[tuple(overrides)] = self.loader.load_sweep_config(master, overrides)
        return self.composed[tuple(overrides)]


def hydra_of_a_sweep(*arguments: str) -> tuple[ConfigLoader, DictConfig]:
    """Return Hydra's loader and what it composes for a sweep as a whole."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    master = hydra.compose_config("config", list(arguments), RunMode.MULTIRUN, with_log_configuration=False)
    return hydra.config_loader, master


def a_composer(points: Sequence[tuple[str, ...]], *arguments: str) -> tuple[Composer, CountingLoader]:
    loader, master = hydra_of_a_sweep(*arguments)
    counting = CountingLoader(loader)
    return Composer(counting, master, points), counting  # type: ignore[arg-type]


def plain(config: Any) -> dict[str, Any]:
    """Return a config as plain values, less Hydra's own."""
    values = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}

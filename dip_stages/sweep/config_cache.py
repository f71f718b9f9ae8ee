"""Hydra's config files, each read once for all compositions of a plan: Hydra itself reads them for each one."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.plugins.config_source import ConfigResult

__all__ = ["reading_once"]


def reading_once(loader: ConfigLoader) -> ConfigLoader:
    """Return a loader that gives the same configs and reads each file once; not for files that change meanwhile."""
    if not isinstance(loader, ConfigLoaderImpl):  # of another kind, whose internals are unknown
        return loader
    faster = copy.copy(loader)
    faster.repository = _ReadOnce(loader.config_search_path)
    return faster


class _ReadOnce(ConfigRepository):
    """A repository that keeps what it has read, pickled, since Hydra changes the objects that it gets."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._read: dict[str, bytes] = {}

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self._read = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._read:
            self._read[config_path] = pickle.dumps(super().load_config(config_path))
        result: ConfigResult | None = pickle.loads(self._read[config_path])  # noqa: S301 - what was pickled above
        return result

    def __deepcopy__(self, memo: dict[int, object]) -> _ReadOnce:
        """Return a copy with its own list of sources, which Hydra makes before each composition."""
        other = copy.copy(self)
        other.sources = list(self.sources)
        return other

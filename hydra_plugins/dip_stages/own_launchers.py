"""Lets the launchers of ``conf/hydra/launcher`` replace Hydra's of the same names.

Hydra would merge a file with what an installed package registers under its name, and warn; our settings of
``submitit_slurm`` and ``ray`` are not those of Hydra's packages. Thin and torch-free: Hydra imports this module at
every start of every Hydra application, of which none but ours has our folder of configs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath


class OwnLaunchers(SearchPathPlugin):
    """Removes what is registered under the names of our launchers from Hydra's store, in our application alone."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Remove them; Hydra calls this when all plugins have registered, before it composes."""
        folders = [Path(element.path.removeprefix("file://")) for element in search_path.get_path() if element.path]
        stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for folder in folders:
            if folder.name == "conf" and _ours(folder):
                for file in (folder / "hydra" / "launcher").glob("*.yaml"):
                    stored.pop(file.name, None)


def _ours(folder: Path) -> bool:
    from dip_stages.config.paths import CONF_DIR

    return folder.resolve() == CONF_DIR.resolve()

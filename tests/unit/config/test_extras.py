from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from dip_stages.config import extras
from dip_stages.errors import LaunchError
from tests.raising import refused

if TYPE_CHECKING:
    import pytest


def test_a_launcher_whose_package_is_missing_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "ray" else importlib.util.find_spec(name))
    with refused(LaunchError, "hydra/launcher", problem="needs ray", names=("pip install 'dip_stages[ray]'",)):
        extras.check_launcher("hydra_plugins.dip_stages.ray_launcher.RayLauncher")
    extras.check_launcher("hydra_plugins.dip_stages.slurm_launcher.SlurmLauncher")
    extras.check_launcher("hydra_plugins.dip_stages.local_launcher.LocalLauncher")
    extras.check_launcher("hydra_plugins.somebody.elses.Launcher")

"""Which package a launcher needs, and the command that installs it. Torch-free."""

from __future__ import annotations

from importlib.util import find_spec

from dip_stages.errors import LaunchError

__all__ = ["check_launcher"]

_NEEDED = {
    "hydra_plugins.hydra_joblib_launcher": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "hydra_plugins.dip_stages.slurm_launcher": ("submitit", "slurm"),
    "hydra_plugins.dip_stages.ray_launcher": ("ray", "ray"),
}


def check_launcher(target: str) -> None:
    """Check that the package of a launcher is installed.

    Args:
        target: The launcher's class, as Hydra has it.

    Raises:
        LaunchError: If it is not.
    """
    for module, (package, extra) in _NEEDED.items():
        if target.startswith(f"{module}.") and not _found(package):
            raise LaunchError(
                f"got one that needs {package}, which is not installed",
                setting="hydra/launcher",
                allowed=f"pip install 'dip_stages[{extra}]' (in a checkout: pip install -e '.[{extra}]')",
            )


def _found(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False

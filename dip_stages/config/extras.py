"""Which optional packages a configuration or a launcher needs, and the commands that install them. Torch-free."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dip_stages.config.runtime import LoggerConfig
from dip_stages.errors import ConfigError, DipStagesError, LaunchError

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = ["check_extras", "check_launcher"]

_PACKAGES = {
    "bm3d": "bm3d",
    "ddpm": "diffusers",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "slurm": "submitit",
    "ray": "ray",
}
"""The package that each extra installs. The extras of methods and loggers have the names of these."""

_LAUNCHERS = {
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.dip_stages.slurm_launcher": "slurm",
    "hydra_plugins.dip_stages.ray_launcher": "ray",
}


def check_extras(config: Config) -> None:
    """Check that this machine has what the method and the logger need.

    Raises:
        ConfigError: If an extra is not installed, or MLflow's server is not named.
    """
    _check_extra("method", config.method.name, config.method.name)
    logger = config.logger
    _check_extra("logger", logger.name, logger.name, otherwise="; or logger=csv, logger=none")
    if (
        isinstance(logger, LoggerConfig)
        and logger.name == "mlflow"
        and not (logger.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"))
    ):
        raise ConfigError(
            setting="logger.tracking_uri",
            got=logger.tracking_uri,
            allowed="a tracking server's address, as in logger.tracking_uri=http://localhost:5000, "
            "or the same in MLFLOW_TRACKING_URI",
        )


def check_launcher(target: str) -> None:
    """Check that the package of a launcher is installed.

    Args:
        target: The launcher's class, as Hydra has it.

    Raises:
        LaunchError: If it is not.
    """
    module, _, name = target.rpartition(".")
    extra = next((extra for prefix, extra in _LAUNCHERS.items() if f"{module}.".startswith(f"{prefix}.")), name)
    _check_extra("hydra/launcher", name, extra, error=LaunchError)


def _check_extra(
    setting: str, got: str, extra: str, *, otherwise: str = "", error: type[DipStagesError] = ConfigError
) -> None:
    package = _PACKAGES.get(extra)
    if package and not _is_installed(package):
        raise error(
            f", which needs {package}, which is not installed",
            setting=setting,
            got=got,
            allowed=f"pip install 'dip_stages[{extra}]' (in a checkout: pip install -e '.[{extra}]'){otherwise}",
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package around it
        return False

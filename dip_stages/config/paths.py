"""Where files are: configurations beside the package in a checkout, inside it in a wheel; models in the outputs."""

from __future__ import annotations

from pathlib import Path

from dip_stages.errors import ConfigError

__all__ = ["CONF_DIR", "MODELS", "SWEEPS_DIR"]

_PACKAGE = Path(__file__).resolve().parent.parent


def _shipped(folder: str, witness: str) -> Path:
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / folder / witness).is_file():
            return root / folder
    raise ConfigError(
        f"neither in {_PACKAGE} nor in {_PACKAGE.parent}: a broken installation", setting=f"{folder}/{witness}"
    )


CONF_DIR = _shipped("conf", "config.yaml")
SWEEPS_DIR = _shipped("sweeps", "full_grid.yaml")

MODELS = "models"
"""Folder of the trained models in the folder ``outputs``, beside those of the sweeps."""

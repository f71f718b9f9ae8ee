"""The typed configuration: what a composed Hydra config must look like, checked before any compute.

Imports neither torch nor Lightning: a sweep of thousands of cells is validated with this alone. A group's options are
the ``name`` of its schema. A setting that no schema has, or a value of the wrong type or out of range, is a
:class:`~dip_stages.errors.ConfigError` that names what is allowed.
"""

from dip_stages.config.arch import ArchConfig
from dip_stages.config.competitors import CompetitorConfig, DDPMConfig, TrainingConfig
from dip_stages.config.config import Config
from dip_stages.config.data import DataConfig, FileData, file_of
from dip_stages.config.extras import check_extras
from dip_stages.config.loss import PerceptualConfig
from dip_stages.config.parsing import parse
from dip_stages.config.paths import CONF_DIR, SWEEPS_DIR
from dip_stages.config.runtime import LoggerConfig
from dip_stages.config.stopping import (
    AverageConfig,
    DiscrepancyConfig,
    HeldOutConfig,
    NoStoppingConfig,
    OracleConfig,
    ResidualConfig,
    StoppingConfig,
    SureConfig,
)
from dip_stages.config.sweep import parse_exclude, parse_sweep, typed_value

__all__ = [
    "CONF_DIR",
    "SWEEPS_DIR",
    "ArchConfig",
    "AverageConfig",
    "CompetitorConfig",
    "Config",
    "DDPMConfig",
    "DataConfig",
    "DiscrepancyConfig",
    "FileData",
    "HeldOutConfig",
    "LoggerConfig",
    "NoStoppingConfig",
    "OracleConfig",
    "PerceptualConfig",
    "ResidualConfig",
    "StoppingConfig",
    "SureConfig",
    "TrainingConfig",
    "check_extras",
    "file_of",
    "parse",
    "parse_exclude",
    "parse_sweep",
    "typed_value",
]

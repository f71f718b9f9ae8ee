"""The typed configuration: what a composed Hydra config must look like, checked before any compute.

Imports neither torch nor Lightning: a sweep of thousands of cells is validated with this alone. A group's options are
the ``name`` of its schema; a key that no schema has, a value of the wrong type or out of range is a
:class:`~dip_stages.errors.ConfigError` that says what is allowed.
"""

from dip_stages.config.denoisers import COMPETITORS, CompetitorConfig, DDPMConfig, TrainingConfig
from dip_stages.config.parsing import parse
from dip_stages.config.paths import CONF_DIR, SWEEPS_DIR
from dip_stages.config.schema import (
    ArchConfig,
    BundledData,
    ButterfliesData,
    Config,
    DataConfig,
    FileData,
    FolderData,
    LoggerConfig,
    LossConfig,
    PerceptualConfig,
)
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
from dip_stages.config.sweep import SweepOptions, parse_exclude, parse_sweep, typed_value

__all__ = [
    "COMPETITORS",
    "CONF_DIR",
    "SWEEPS_DIR",
    "ArchConfig",
    "AverageConfig",
    "BundledData",
    "ButterfliesData",
    "CompetitorConfig",
    "Config",
    "DDPMConfig",
    "DataConfig",
    "DiscrepancyConfig",
    "FileData",
    "FolderData",
    "HeldOutConfig",
    "LoggerConfig",
    "LossConfig",
    "NoStoppingConfig",
    "OracleConfig",
    "PerceptualConfig",
    "ResidualConfig",
    "StoppingConfig",
    "SureConfig",
    "SweepOptions",
    "TrainingConfig",
    "parse",
    "parse_exclude",
    "parse_sweep",
    "typed_value",
]

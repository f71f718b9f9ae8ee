"""Settings that change no result: the groups ``logger`` and ``runtime``."""

from __future__ import annotations

from dataclasses import dataclass

from dip_stages.config.fields import Section, bounded, choice

__all__ = ["LoggerConfig", "RuntimeConfig"]


@dataclass(frozen=True)
class LoggerConfig(Section, section="logger"):
    """Where the curves are logged besides the cell's own ``curves.csv``."""

    name: str = choice("csv", ("none", "csv", "tensorboard", "wandb", "mlflow"))
    project: str = "dip_stages"
    tracking_uri: str | None = None


@dataclass(frozen=True)
class RuntimeConfig(Section, section="runtime"):
    """How a cell is computed."""

    accelerator: str = choice("auto", ("auto", "cpu", "cuda", "mps"))
    threads: int | None = bounded(None, at_least=1)
    overwrite: bool = False
    checkpoint_every: float | None = bounded(60.0, at_least=0)
    keep_checkpoint: bool = False
    cuda_graphs: bool = True
    members_together: int = bounded(1, at_least=1)

"""The number that a cell gives to a sweeper that searches, such as Optuna's: the settings ``objective``. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.config.stopping import DiscrepancyConfig, NoStoppingConfig, OracleConfig, StageGainConfig
from dip_stages.errors import CellError, ConfigError, check_choice
from dip_stages.store.statuses import RecordStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dip_stages.config import Config
    from dip_stages.store.records import Record

__all__ = ["OBJECTIVES", "Objective"]


def _metric(*path: str) -> Callable[[Record], Any]:
    def of(record: Record) -> Any:
        node: Any = record.metrics
        for key in path:
            node = node[key]
        return node

    return of


_OF_CLEAN = {
    "result.psnr": _metric("result", "psnr"),
    "result.ssim": _metric("result", "ssim"),
    "output.psnr": _metric("output", "end", "psnr"),
    "output.ssim": _metric("output", "end", "ssim"),
}
"""Objectives that are measured against the clean image: the higher, the better."""

_BLIND: dict[str, Callable[[Record], Any]] = {
    "stopping.statistic": lambda record: record.stopping.get("statistic") if record.stopping else None,
    "timing.seconds": lambda record: record.timing["seconds"],
}
"""Objectives that are not: the lower, the better."""

OBJECTIVES = _OF_CLEAN | _BLIND

_WITHOUT_STATISTIC = (NoStoppingConfig, DiscrepancyConfig, OracleConfig, StageGainConfig)


@dataclass(frozen=True)
class Objective:
    """What a cell returns to a sweeper.

    Attributes:
        name: One of :data:`OBJECTIVES`.
        failed: What a failed cell does: ``raise``, or ``nan`` for that value.
    """

    name: str
    failed: str

    @classmethod
    def of(cls, composed: Mapping[str, Any], config: Config) -> Objective:
        """Return the objective of a composed configuration.

        Args:
            composed: The whole configuration, with ``objective`` and ``failed_objective``.
            config: The same, parsed.

        Raises:
            ConfigError: If there is no such objective, or this cell has none.
        """
        name, failed = composed.get("objective"), str(composed.get("failed_objective"))  # nan is a number in YAML
        check_choice("objective", name, OBJECTIVES)
        check_choice("failed_objective", failed, ("raise", "nan"))
        if name == "stopping.statistic" and (config.competitor or isinstance(config.stopping, _WITHOUT_STATISTIC)):
            other = f"method={config.competitor.name}" if config.competitor else f"stopping={config.stopping.name}"
            raise ConfigError(
                f" with {other}, which has no statistic",
                setting="objective",
                got=name,
                allowed="a rule that has one, as stopping=sure, residual, held_out",
            )
        return cls(str(name), failed)

    @property
    def needs_clean(self) -> bool:
        """Whether it is measured against the clean image, which does not exist outside of experiments."""
        return self.name in _OF_CLEAN

    def value(self, record: Record) -> float:
        """Return the objective of a cell that has ended.

        Raises:
            CellError: If it failed, or has no such number, unless that is to be NaN.
        """
        value = OBJECTIVES[self.name](record) if record.status == RecordStatus.DONE else None
        if value is not None:
            return float(value)
        if self.failed == "nan":
            return math.nan
        if record.error:
            problem = f"the cell failed: {record.error['message']}"
        else:
            problem = f"has no {self.name}: the fit was too short for its rule"
        raise CellError(problem, setting=record.cell["folder"], allowed="failed_objective=nan")

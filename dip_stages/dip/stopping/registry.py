"""The stopping rules by name.

To add one: write it in a module here, name it in :data:`RULES`, give it a schema in :mod:`dip_stages.config.stopping`
and a file in ``conf/stopping/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.dip.stopping.held_out import HeldOut
from dip_stages.dip.stopping.noise_level import Discrepancy, Residual
from dip_stages.dip.stopping.oracle import Oracle
from dip_stages.dip.stopping.risk import Sure
from dip_stages.dip.stopping.stage_gain import StageGain
from dip_stages.dip.stopping.variance import EsEmv, EsWmv

if TYPE_CHECKING:
    from collections.abc import Callable

    from dip_stages.dip.stopping.base import Rule

__all__ = ["RULES"]

RULES: dict[str, Callable[..., Rule]] = {
    "discrepancy": Discrepancy,
    "residual": Residual,
    "held_out": HeldOut,
    "es_wmv": EsWmv,
    "es_emv": EsEmv,
    "sure": Sure,
    "stage_gain": StageGain,
    "oracle": Oracle,
}

"""From records on disk to tables and plots, with pandas and seaborn. Torch-free; the disk is the only source.

.. code-block:: python

    from dip_stages import report

    frame = report.load("outputs/report_table")
    frame.groupby("protocol").output_psnr.mean()
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # without the module typing: Python imports this one before the command of reports begins
if TYPE_CHECKING:
    from typing import Any

    from dip_stages.report.cache import gather
    from dip_stages.report.comparison import compare
    from dip_stages.report.course_claims import verdicts
    from dip_stages.report.description import describe
    from dip_stages.report.frame import load, write_cells
    from dip_stages.report.paired_effects import effects
    from dip_stages.report.stopping import load_readings
    from dip_stages.report.write import report_sweep

__all__ = [
    "compare",
    "describe",
    "effects",
    "gather",
    "load",
    "load_readings",
    "report_sweep",
    "verdicts",
    "write_cells",
]

_MODULES = {
    "compare": "comparison",
    "describe": "description",
    "effects": "paired_effects",
    "gather": "cache",
    "load": "frame",
    "load_readings": "stopping",
    "report_sweep": "write",
    "verdicts": "course_claims",
    "write_cells": "frame",
}


def __getattr__(name: str) -> Any:
    """Import what is used only then: pandas and seaborn take seconds, and a sweep with nothing to do needs neither."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        *("dip_stages.cli", "dip_stages.console", "dip_stages.status", "dip_stages.sweep.drive", "dip_stages.report"),
        "hydra_plugins.dip_stages.grid_sweeper",
    ],
)
def test_planning_and_reports_start_without_torch(module: str) -> None:
    code = f"import {module}, sys; print([m for m in ('torch', 'pytorch_lightning', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""Plans that the tests of a sweep's driver run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.sweep.plan import Plan, make_plan

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose


@pytest.fixture
def plan(composing: Compose, tmp_path: Path) -> Plan:
    points = [(f"method={m}", "trainer.iterations=4", f"seed={s}") for m in ("baseline", "staged") for s in (0, 1)]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))


@pytest.fixture
def diverging(composing: Compose, tmp_path: Path) -> Plan:
    points = [("method=baseline", "trainer.iterations=4", f"method.input_scale={scale}") for scale in ("0.1", "1e39")]
    return make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides))

"""Numbers that must not drift: they were computed once from the formulas and are compared to full precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dip_stages.budgets import epoch_budget
from dip_stages.cell import cell_of
from dip_stages.config import parse
from dip_stages.data import observe, to_array
from dip_stages.schedules import beta_schedule

if TYPE_CHECKING:
    from tests.conftest import Compose

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["schedules"], ids=lambda case: f"{case['name']}-{case['beta_max']}")
def test_schedules(case: dict[str, object]) -> None:
    betas = beta_schedule(case["name"], beta_start=1e-4, beta_max=case["beta_max"], stages=10)  # type: ignore[arg-type]
    assert betas == pytest.approx(case["betas"], rel=1e-12)


@pytest.mark.parametrize("case", GOLDEN["budgets"], ids=lambda case: case["name"])
def test_budgets(case: dict[str, object]) -> None:
    betas = beta_schedule("linear", beta_start=1e-4, beta_max=0.02, stages=10)[::-1]
    name = str(case["name"])
    assert [epoch_budget(name, beta, max_epochs=3000, alpha=0.9, k=150.0) for beta in betas] == case["iterations"]


def test_the_observation_is_the_same_on_every_machine() -> None:
    picture = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    observed = to_array(observe(picture, beta_max=0.01, noise_seed=0).observed)
    np.testing.assert_allclose(observed[::5, ::5, 0], GOLDEN["observed"], atol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["identity"], ids=lambda case: case["id"])
def test_identities_do_not_drift(composing: Compose, case: dict[str, Any]) -> None:
    """A changed identity orphans every record on disk: it needs a reason, and NUMERICS in cell.py raised."""
    assert cell_of(parse(composing(*case["overrides"]))).id == case["id"]

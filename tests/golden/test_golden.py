"""Numbers that must not drift: they were computed once from the formulas and are compared to full precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dip_stages.cells.identity import cell_of
from dip_stages.config import parse
from dip_stages.dip.archs.registry import ARCHS
from dip_stages.dip.budgets import epoch_budget
from dip_stages.dip.losses import PerceptualLoss, VGG16Features
from dip_stages.dip.observation import observe, to_array
from dip_stages.dip.schedules import beta_schedule

if TYPE_CHECKING:
    from tests.conftest import Compose

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
CORE = json.loads((Path(__file__).parent / "core.json").read_text())


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
    image = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    observed = to_array(observe(image, beta_max=0.01, noise_seed=0).observed)
    np.testing.assert_allclose(observed[::5, ::5, 0], GOLDEN["observed"], atol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["identity"], ids=lambda case: case["id"])
def test_identities_do_not_drift(composing: Compose, case: dict[str, Any]) -> None:
    """A changed identity orphans every record on disk: it needs a reason, and NUMERICS in cells/identity.py raised."""
    assert cell_of(parse(composing(*case["overrides"]))).id == case["id"]


@pytest.mark.parametrize("arch", ARCHS)
def test_published_networks_keep_their_number_of_parameters(arch: str) -> None:
    # Those of the constructors' defaults, with 32 input channels.
    network = ARCHS[arch](32, 3, (512, 512))
    assert sum(parameter.numel() for parameter in network.parameters()) == CORE["parameters"][arch]


def test_the_random_perceptual_loss_is_the_same_on_every_machine() -> None:
    ramp = torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    features = VGG16Features(seed=0)
    assert [level.mean().item() for level in features(ramp)] == pytest.approx(CORE["features"], rel=1e-4)
    loss = PerceptualLoss(features, 0.1)
    loss.set_target(ramp, ramp)
    assert loss(1 - ramp).item() == pytest.approx(CORE["perceptual"], rel=1e-4)

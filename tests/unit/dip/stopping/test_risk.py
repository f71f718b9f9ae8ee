from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dip_stages.dip.stopping.base import View
from dip_stages.dip.stopping.risk import Sure
from tests.rules import SHAPE, choice_of, images, views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Shrinking:
    """A network that shrinks what it is fed: its divergence is known."""

    def __init__(self, observed: Tensor, factors: Sequence[float]) -> None:
        self.observed, self.factors = observed, factors
        self.at = 0

    def __call__(self, perturbation: Tensor | None) -> Tensor:
        fed = self.observed if perturbation is None else self.observed + perturbation
        return self.factors[self.at] * fed


def test_sure_estimates_the_risk_and_keeps_the_lowest() -> None:
    clean = torch.zeros((1, 1, 128, 128)) + 0.5
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    observed, factors = clean + 0.5 * noise, [0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
    network = Shrinking(observed, factors)
    rule = Sure(observed, 0.5, 0, every=1, patience=100)
    rule.begin(observed)
    risks = []
    for number, factor in enumerate(factors):
        network.at = number
        view = View(factor * observed, observed, observed, False, network)
        rule.update(view)
        risks.append(float(((factor * observed - clean) ** 2).mean()))
        # Counted as above: the estimate for iteration `number + 1`.
        assert float(rule._risk(view)) == pytest.approx(risks[-1], abs=0.01)
    assert rule.choice(view).iteration == int(np.argmin(risks)) + 1


def test_sure_estimates_once_in_some_iterations() -> None:
    observed = torch.zeros(SHAPE)
    calls: list[bool] = []

    def forward(perturbation: Tensor | None) -> Tensor:
        calls.append(perturbation is None)
        return torch.zeros(SHAPE)

    choice = choice_of(Sure(observed, 0.1, 0, every=4), views(images(11), forward=forward))
    assert calls == [True, False] * 2
    assert choice.iteration == 4

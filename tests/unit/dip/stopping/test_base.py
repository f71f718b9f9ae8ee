from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.dip.stopping.held_out import HeldOut
from dip_stages.dip.stopping.noise_level import Discrepancy, Residual
from dip_stages.dip.stopping.oracle import Oracle
from dip_stages.dip.stopping.registry import RULES
from dip_stages.dip.stopping.risk import Sure
from dip_stages.dip.stopping.stage_gain import StageGain
from dip_stages.dip.stopping.variance import EsEmv, EsWmv
from tests.rules import SHAPE, choice_of, settling, some_pixels, views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dip_stages.dip.stopping.base import Rule, View


def rules() -> dict[str, Rule]:
    observed = torch.full(SHAPE, 0.5)
    return {
        "discrepancy": Discrepancy(observed, 0.1),
        "discrepancy with a lag": Discrepancy(observed, 0.25, lag=9, held_out=some_pixels(40)),
        "residual": Residual(observed, 0.8, patience=6),
        "held_out": HeldOut(observed, some_pixels(40), patience=6),
        "es_wmv": EsWmv(4, patience=6),
        "es_emv": EsEmv(patience=6),
        "sure": Sure(observed, 0.1, 3, every=2, patience=6),
        "stage_gain": StageGain(),
        "oracle": Oracle(observed, "average"),
    }


def test_every_rule_is_tested_here() -> None:
    assert {type(rule) for rule in rules().values()} == set(RULES.values())


@pytest.mark.parametrize("name", sorted(rules()))
@pytest.mark.parametrize("at", [1, 7, 13, 24])
def test_a_rule_continues_from_its_state(name: str, at: int) -> None:
    def forward(perturbation: Tensor | None) -> Tensor:
        return torch.full(SHAPE, 0.4) if perturbation is None else 0.4 + 0.5 * perturbation

    seen = views(settling(30, seed=2), torch.full(SHAPE, 0.5), ends=[10, 20], forward=forward)
    expected = choice_of(rules()[name], seen)
    first, second = rules()[name], rules()[name]
    first.begin(seen[0].output)
    second.begin(seen[0].output)

    def show(rule: Rule, some: Sequence[View]) -> None:
        for view in some:
            rule.update(view)
            if view.last_of_stage:
                rule.begin_stage()

    show(first, seen[:at])
    saved: dict[str, Any] = copy.deepcopy(first.state())
    show(first, seen[at:])  # what comes later must not touch what was saved
    second.restore(saved)
    show(second, seen[at:])
    found = second.choice(seen[-1])
    assert (found.iteration, found.spent, found.decided) == (expected.iteration, expected.spent, expected.decided)
    assert torch.equal(found.output, expected.output)
    assert torch.equal(found.average, expected.average)

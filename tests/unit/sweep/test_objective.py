from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.config import parse
from dip_stages.dip.stopping.base import Lowest
from dip_stages.dip.stopping.registry import RULES
from dip_stages.errors import CellError, ConfigError
from dip_stages.store.statuses import RecordStatus
from dip_stages.sweep.objective import OBJECTIVES, Objective
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose

METRICS = {"result": {"psnr": 30.0, "ssim": 0.9}, "output": {"end": {"psnr": 20.0, "ssim": 0.5}}}


class Ended:
    """What an objective reads of a record."""

    def __init__(self, status: RecordStatus = RecordStatus.DONE, **fields: Any) -> None:
        self.status, self.cell, self.error = status, {"folder": "cell"}, None
        self.metrics, self.stopping, self.timing = METRICS, {"statistic": 0.25}, {"seconds": 3.0}
        vars(self).update(fields)


def test_each_objective_is_its_number_of_the_record() -> None:
    found = {name: Objective(name, "raise").value(Ended()) for name in OBJECTIVES}  # type: ignore[arg-type]
    assert found == {
        "result.psnr": 30.0,
        "result.ssim": 0.9,
        "output.psnr": 20.0,
        "output.ssim": 0.5,
        "stopping.statistic": 0.25,
        "timing.seconds": 3.0,
    }
    assert {name for name in OBJECTIVES if Objective(name, "raise").needs_clean} == {
        name for name in OBJECTIVES if name.endswith(("psnr", "ssim"))
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Ended(RecordStatus.FAILED, metrics=None, error={"message": "the fit diverged"}), "the cell failed: the fit"),
        (Ended(stopping={}), "has no stopping.statistic: the fit was too short for its rule"),
        (Ended(stopping={"statistic": None}), "has no stopping.statistic"),
    ],
)
def test_a_cell_without_one_raises_or_gives_nan(record: Any, reason: str) -> None:
    with refused(CellError, "cell", problem=reason):
        Objective("stopping.statistic", "raise").value(record)
    assert math.isnan(Objective("stopping.statistic", "nan").value(record))


def test_a_rule_without_a_statistic_is_refused_before_it_is_computed(composing: Compose) -> None:
    composing_with = {"held_out": ["trainer.held_out=0.1"], "stage_gain": [], "residual": ["protocol=recorrupted"]}
    composing_with["sure"] = ["method.input=observed"]
    for name, rule in RULES.items():
        composed = composing(f"stopping={name}", "objective=stopping.statistic", *composing_with.get(name, []))
        config = parse(composed)
        if isinstance(rule, type) and issubclass(rule, Lowest) and name != "oracle":
            assert Objective.of(composed, config).name == "stopping.statistic"
        else:
            with refused(ConfigError, "objective", got="stopping.statistic"):
                Objective.of(composed, config)


@pytest.mark.parametrize(
    ("typed", "setting"), [("objective=psnr", "objective"), ("failed_objective=skip", "failed_objective")]
)
def test_an_objective_that_is_not_there_is_refused(composing: Compose, typed: str, setting: str) -> None:
    composed = composing(typed)
    with refused(ConfigError, setting, got=typed.partition("=")[2]):
        Objective.of(composed, parse(composed))

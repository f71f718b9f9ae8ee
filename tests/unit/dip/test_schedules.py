from __future__ import annotations

import pytest

from dip_stages.dip.schedules import SCHEDULES, beta_schedule
from dip_stages.errors import ConfigError
from tests.raising import refused


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
@pytest.mark.parametrize(
    ("beta_start", "beta_max", "stages"), [(1e-4, 0.02, 1000), (1e-4, 0.01, 10), (0.00085, 0.012, 7)]
)
def test_schedules_equal_diffusers(name: str, beta_start: float, beta_max: float, stages: int) -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    theirs = DDPMScheduler(stages, beta_start, beta_max, beta_schedule=name).betas
    ours = beta_schedule(name, beta_start=beta_start, beta_max=beta_max, stages=stages)
    assert ours == pytest.approx(theirs.tolist(), rel=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_stage_has_the_cleanest_level(name: str) -> None:
    assert beta_schedule(name, beta_start=1e-4, beta_max=0.02, stages=1) == pytest.approx((1e-4,))


@pytest.mark.parametrize(
    ("changes", "setting", "allowed"),
    [
        ({"name": "cosine"}, "scheduler.name", "linear, scaled_linear"),
        ({"beta_max": 0.0}, "noise.beta_max", "a number > 0 and < 1"),
        ({"beta_max": 1.0}, "noise.beta_max", "a number > 0 and < 1"),
        ({"beta_max": float("nan")}, "noise.beta_max", "a number > 0 and < 1"),
        ({"beta_start": 0.0}, "scheduler.beta_start", "a number > 0 and <= 0.02"),
        ({"beta_start": 0.03}, "scheduler.beta_start", "a number > 0 and <= 0.02"),
        ({"stages": 0}, "scheduler.stages", "a number >= 1"),
    ],
)
def test_arguments_out_of_range_are_named(changes: dict[str, object], setting: str, allowed: str) -> None:
    arguments = {"name": "linear", "beta_start": 1e-4, "beta_max": 0.02, "stages": 10} | changes
    with refused(ConfigError, setting, got=next(iter(changes.values())), allowed=allowed):
        beta_schedule(**arguments)  # type: ignore[arg-type]

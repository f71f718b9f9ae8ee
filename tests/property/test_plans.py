from __future__ import annotations

import math
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from dip_stages.dip.budgets import allocate, decaying, rescale, saturating
from dip_stages.dip.schedules import SCHEDULES, beta_schedule
from dip_stages.dip.stages import Chunks, Stage, StagePlan

betas = st.floats(0, 1, exclude_max=True)
shapes = {"max_epochs": st.integers(1, 10_000), "alpha": st.floats(0, 1), "k": st.floats(0, 1000)}
budgets = st.lists(st.integers(0, 3000), min_size=1, max_size=30).filter(any)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    ends=st.tuples(st.floats(1e-6, 0.5), st.floats(1e-6, 0.5)),
    stages=st.integers(2, 200),
)
def test_schedules_ascend_from_start_to_end(name: str, ends: tuple[float, float], stages: int) -> None:
    start, end = sorted(ends)
    schedule = beta_schedule(name, beta_start=start, beta_max=end, stages=stages)
    assert len(schedule) == stages
    assert math.isclose(schedule[0], start, rel_tol=1e-9)
    assert math.isclose(schedule[-1], end, rel_tol=1e-9)
    assert all(b >= a or math.isclose(a, b) for a, b in pairwise(schedule))


@given(start=st.floats(1e-6, 0.1), end=st.floats(0.1, 0.9), stages=st.integers(3, 100))
def test_scaled_linear_never_lies_above_linear(start: float, end: float, stages: int) -> None:
    scaled, plain = (
        beta_schedule(n, beta_start=start, beta_max=end, stages=stages) for n in ("scaled_linear", "linear")
    )
    assert all(s <= p + 1e-12 for s, p in zip(scaled, plain, strict=True))


@given(pair=st.tuples(betas, betas), max_epochs=shapes["max_epochs"], alpha=shapes["alpha"], k=shapes["k"])
def test_saturating_grows_and_decaying_falls_with_beta(
    pair: tuple[float, float], max_epochs: int, alpha: float, k: float
) -> None:
    low, high = sorted(pair)
    assert (
        0
        <= saturating(low, max_epochs=max_epochs, alpha=alpha, k=k)
        <= saturating(high, max_epochs=max_epochs, alpha=alpha, k=k)
        <= max_epochs
    )
    assert (
        max_epochs
        >= decaying(low, max_epochs=max_epochs, alpha=alpha, k=k)
        >= decaying(high, max_epochs=max_epochs, alpha=alpha, k=k)
        >= 0
    )


@given(whole=budgets, total=st.integers(1, 100_000))
def test_rescaling_is_exact_and_within_one_of_proportional(whole: list[int], total: int) -> None:
    scaled = rescale(whole, total)
    assert sum(scaled) == total
    for before, after in zip(whole, scaled, strict=True):
        assert abs(after - before * total / sum(whole)) < 1
        assert before > 0 or after == 0


@given(whole=budgets)
def test_rescaling_to_the_same_sum_changes_nothing(whole: list[int]) -> None:
    assert rescale(whole, sum(whole)) == tuple(whole)


@given(
    name=st.sampled_from(["saturating", "decaying", "constant"]), stages=st.integers(1, 40), total=st.integers(1, 5000)
)
def test_every_budget_spends_the_same_total(name: str, stages: int, total: int) -> None:
    levels = beta_schedule("linear", beta_start=1e-4, beta_max=0.02, stages=stages)[::-1]
    assert sum(allocate(name, levels, max_epochs=3000, alpha=0.9, k=150.0, total=total)) == total


@given(whole=budgets, size=st.integers(1, 500))
def test_chunks_cover_every_iteration_once_and_never_cross_a_stage(whole: list[int], size: int) -> None:
    target = torch.zeros(1)
    plan = StagePlan(tuple(Stage(0.1, budget, target, target) for budget in whole), "fixed_noise", sees_clean=False)
    chunks = list(Chunks(plan, size))
    assert [i for chunk in chunks for i in range(chunk.start, chunk.stop)] == list(range(plan.iterations))
    switches = {sum(whole[:i]) for i in range(len(whole) + 1)}
    for chunk in chunks:
        assert chunk.stop % size == 0 or chunk.stop in switches
        assert sum(whole[: chunk.stage]) <= chunk.start < chunk.stop <= sum(whole[: chunk.stage + 1])

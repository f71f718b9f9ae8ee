from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from dip_stages.cell import cell_of
from dip_stages.config import parse

if TYPE_CHECKING:
    from tests.conftest import Compose

quickly = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shuffled(values: Any, random: Any) -> Any:
    if not isinstance(values, dict):
        return values
    keys = list(values)
    random.shuffle(keys)
    return {key: shuffled(values[key], random) for key in keys}


def plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@quickly
@given(random=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(composing: Compose, random: Any) -> None:
    values = plain(composing())
    assert cell_of(parse(shuffled(values, random))).id == cell_of(parse(values)).id


@quickly
@given(
    scheduler=st.sampled_from(["linear", "scaled_linear"]),
    protocol=st.sampled_from(["clean", "renoised", "observed"]),
    budget=st.sampled_from(["saturating", "decaying", "constant"]),
    stages=st.integers(1, 50),
    alpha=st.floats(0, 0.99),
    threads=st.integers(1, 64),
)
def test_a_baseline_is_one_cell_whatever_it_ignores(
    composing: Compose, scheduler: str, protocol: str, budget: str, stages: int, alpha: float, threads: int
) -> None:
    values = plain(composing("method=baseline"))
    same = cell_of(parse(values)).id
    values["scheduler"] |= {"name": scheduler, "stages": stages}
    values["budget"] |= {"name": budget, "alpha": alpha}
    values["protocol"]["name"] = protocol
    values["runtime"]["threads"] = threads
    assert cell_of(parse(values)).id == same


@quickly
@given(seeds=st.lists(st.integers(0, 2**31), min_size=2, max_size=2, unique=True), beta=st.floats(0.001, 0.5))
def test_different_cells_have_different_ids(composing: Compose, seeds: list[int], beta: float) -> None:
    values = plain(composing())
    ids = {
        cell_of(parse(values | {"seed": seed, "noise": {"beta_max": b}})).id for seed in seeds for b in (beta, beta / 2)
    }
    assert len(ids) == 4

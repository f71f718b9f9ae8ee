from __future__ import annotations

import math
from typing import Any

import pytest

from dip_stages.dip.rollback import Rollback
from dip_stages.errors import DivergenceError


class Holder:
    """A state that can be taken and put back."""

    def __init__(self) -> None:
        self.values = [0]

    def take(self) -> dict[str, Any]:
        return {"values": self.values}

    def put(self, state: dict[str, Any]) -> None:
        self.values = state["values"]


def a_rollback(holder: Holder, attempts: int = 2) -> Rollback:
    rollback = Rollback(holder.take, holder.put, jump_db=5.0, attempts=attempts)
    rollback.restart(0)
    return rollback


@pytest.mark.parametrize(("rise_db", "good"), [(-20.0, True), (0.0, True), (4.9, True), (5.1, False), (30.0, False)])
def test_a_rise_of_more_than_the_jump_is_rolled_back(rise_db: float, good: bool) -> None:
    rollback = a_rollback(Holder())
    assert rollback.accepts(10, 0.01)
    assert rollback.accepts(20, 0.01 * 10 ** (rise_db / 10)) is good
    assert rollback.count == (not good)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_rolled_back_even_at_first(loss: float) -> None:
    assert not a_rollback(Holder()).accepts(10, loss)


def test_the_state_put_back_is_the_last_good_one_and_a_copy() -> None:
    holder = Holder()
    rollback = a_rollback(holder, attempts=9)
    holder.values.append(1)
    rollback.accepts(10, 0.1)
    for _ in range(3):
        holder.values.append(99)
        assert not rollback.accepts(20, math.nan)
        assert holder.values == [0, 1]


def test_too_many_in_a_row_fail_and_say_where_the_last_good_state_is() -> None:
    holder = Holder()
    rollback = a_rollback(holder, attempts=2)
    rollback.accepts(10, 0.1)
    assert not rollback.accepts(20, math.nan)
    assert not rollback.accepts(20, math.nan)
    with pytest.raises(DivergenceError) as caught:
        rollback.accepts(20, math.nan)
    assert (caught.value.iteration, caught.value.last_good) == (20, 10)


def test_a_good_chunk_restarts_the_count_of_attempts() -> None:
    rollback = a_rollback(Holder(), attempts=1)
    for iteration in range(5):
        assert not rollback.accepts(iteration, math.nan)
        assert rollback.accepts(iteration, 0.1)
    assert rollback.count == 5


def test_a_new_stage_forgets_the_last_loss() -> None:
    rollback = a_rollback(Holder())
    assert rollback.accepts(10, 1e-6)
    rollback.restart(10)
    assert rollback.accepts(20, 1.0)


def test_the_last_edge_is_saved_without_later_rollbacks() -> None:
    holder = Holder()
    rollback = a_rollback(holder)
    assert not rollback.accepts(10, math.nan)
    assert rollback.accepts(10, 0.1)
    holder.values.append(1)
    assert not rollback.accepts(20, math.nan)
    assert rollback.saved() == {"good": {"values": [0]}, "iteration": 10, "count": 1, "loss": 0.1}
    assert rollback.count == 2


def test_a_resumed_rollback_has_count_loss_and_state_of_the_edge() -> None:
    before = a_rollback(Holder())
    assert not before.accepts(10, math.nan)
    assert before.accepts(10, 0.01)
    saved = before.saved()
    assert saved is not None
    holder = Holder()
    holder.values = [7]
    rollback = Rollback(holder.take, holder.put, jump_db=5.0, attempts=2)
    assert rollback.saved() is None
    rollback.resume(saved)
    assert rollback.count == 1
    assert not rollback.accepts(20, 0.04)
    assert holder.values == [0]
    assert rollback.accepts(20, 0.03)

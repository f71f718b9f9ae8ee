from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.cells.threads import in_lanes
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("together", [1, 2, 9])
def test_the_work_of_each_number_is_done_once_and_no_more_at_once_than_asked_for(together: int) -> None:
    done: list[int] = []
    at_once, most = [0], [0]
    own = threading.Lock()

    def work(number: int, should_stop: Callable[[], bool]) -> None:
        assert not should_stop()
        assert torch.get_num_threads() == threads
        with own:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.01)
        with own:
            at_once[0] -= 1
            done.append(number)

    threads = torch.get_num_threads()
    in_lanes(work, range(5), together)
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert min(together, 2) <= most[0] <= together


def test_where_one_fails_the_others_stop_and_the_rest_does_not_begin() -> None:
    begun, ended = [], []
    both = threading.Barrier(2, timeout=60)

    def work(number: int, should_stop: Callable[[], bool]) -> None:
        begun.append(number)
        both.wait()
        if number == 1:
            threading.Event().wait(0.1)  # until the caller waits
            raise ValueError("no such thing")
        while not should_stop():
            threading.Event().wait(0.001)
        ended.append(number)
        raise Interrupted("asked to stop")

    with pytest.raises(ValueError, match="no such thing"):
        in_lanes(work, range(4), 2)
    assert sorted(begun) == [0, 1]
    assert ended == [0]


@pytest.mark.parametrize("by", ["the caller", "the keyboard"])
def test_asked_to_stop_all_stop(by: str, request: pytest.FixtureRequest) -> None:
    around = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of xdist ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, around))
    asked, both = threading.Event(), threading.Barrier(2, timeout=60)
    ended = []

    def work(number: int, should_stop: Callable[[], bool]) -> None:
        both.wait()
        if number == 1:
            threading.Event().wait(0.1)  # until the caller waits
            if by == "the keyboard":
                signal.raise_signal(signal.SIGINT)  # the main thread handles it
            else:
                asked.set()
        while not should_stop():
            threading.Event().wait(0.001)
        ended.append(number)
        raise Interrupted("asked to stop")

    with pytest.raises(Interrupted, match="keyboard" if by == "the keyboard" else "asked to stop"):
        in_lanes(work, range(2), 2, asked.is_set)
    assert sorted(ended) == [0, 1]

"""Pieces of work side by side in threads of one process, as a GPU wants that one of them does not fill."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import torch

from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["in_lanes"]


def in_lanes(
    work: Callable[[int, Callable[[], bool]], None],
    numbers: Iterable[int],
    together: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do the work of each number, one after another in this thread, or several at once, each in one of its own.

    Where one of them fails, the others are asked to stop, and those that have not begun do not. Each has as many
    CPU threads as this one has.

    Args:
        work: Called with a number and with what it is to ask now and then: whether to stop.
        numbers: Each piece's.
        together: The most pieces at once; with 1 there are no other threads than this.
        should_stop: Whether all are to stop.

    Raises:
        Interrupted: If one ended with it and none failed, or if interrupted from the keyboard.
        BaseException: What the first piece that failed raised, in the order of the numbers.
    """
    if together == 1:
        for number in numbers:
            work(number, should_stop)
        return
    over = threading.Event()
    threads = torch.get_num_threads()

    def asked() -> bool:
        return over.is_set() or should_stop()

    def run(number: int) -> None:
        if asked():
            raise Interrupted("asked to stop before it began")
        torch.set_num_threads(threads)  # a thread begins with torch's own choice
        try:
            work(number, asked)
        except BaseException:
            over.set()
            raise

    # A log that is kept apart by the thread goes by the name's beginning.
    with ThreadPoolExecutor(together, thread_name_prefix=f"{threading.current_thread().name}/lane") as pool:
        pieces = []
        try:
            pieces += [pool.submit(run, number) for number in numbers]
            # A signal that another thread received is heard between two waits.
            while not over.is_set() and wait(pieces, timeout=1, return_when=FIRST_EXCEPTION).not_done:
                pass
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted from the keyboard") from error
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
    raised = [why for piece in pieces if not piece.cancelled() and (why := piece.exception())]
    for why in sorted(raised, key=lambda why: isinstance(why, Interrupted)):  # stable: failures first
        raise why

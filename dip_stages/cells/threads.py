"""Work side by side in threads of one process, for a GPU that one piece of it does not fill."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import torch

from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

__all__ = ["in_lanes"]


def in_lanes(
    work: Callable[[int, Callable[[], bool]], None],
    numbers: Iterable[int],
    together: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do the work of each number: one after another in this thread, or several at once in threads of their own.

    If one fails, the others are asked to stop, and no further one begins. Each has as many CPU threads as this thread.

    Args:
        work: Called with a number, and with a function that it calls now and then: whether to stop.
        numbers: One for each piece of work.
        together: The most pieces at once; 1 for no other threads.
        should_stop: Whether all are to stop.

    Raises:
        Interrupted: If a piece raised it and none failed, or if interrupted from the keyboard.
        BaseException: What the first piece that failed raised, in the order of the numbers.
    """
    if together == 1:
        for number in numbers:
            work(number, should_stop)
        return
    pieces = _run_together(work, numbers, together, should_stop)
    raised = [why for piece in pieces if not piece.cancelled() and (why := piece.exception())]
    for why in sorted(raised, key=lambda why: isinstance(why, Interrupted)):  # stable: failures come first
        raise why


def _run_together(
    work: Callable[[int, Callable[[], bool]], None],
    numbers: Iterable[int],
    together: int,
    should_stop: Callable[[], bool],
) -> list[Future[None]]:
    over = threading.Event()
    threads = torch.get_num_threads()

    def stop() -> bool:
        return over.is_set() or should_stop()

    def run(number: int) -> None:
        if stop():
            raise Interrupted("asked to stop before it began")
        torch.set_num_threads(threads)  # a new thread has torch's own choice
        try:
            work(number, stop)
        except BaseException:
            over.set()
            raise

    pieces: list[Future[None]] = []
    # A log file of a cell takes what is logged under its thread's name, or below it.
    with ThreadPoolExecutor(together, thread_name_prefix=f"{threading.current_thread().name}/lane") as pool:
        try:
            pieces += [pool.submit(run, number) for number in numbers]
            # Short waits: Python handles a signal in the main thread, and only between two of them.
            while not over.is_set() and wait(pieces, timeout=1, return_when=FIRST_EXCEPTION).not_done:
                pass
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted from the keyboard") from error
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
    return pieces

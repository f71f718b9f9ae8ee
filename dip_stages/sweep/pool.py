"""The local launcher's pool: worker processes that take cells from one queue and are replaced when they die."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.worker import GRACE, Outcome
from dip_stages.workers import Workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dip_stages.orders import Order

__all__ = ["cores", "run_pool", "visible_gpus"]

_LOOK = 0.2


def run_pool(
    orders: Sequence[Order], *, workers: int | None = None, gpus: Sequence[str] | None = None
) -> list[Outcome]:
    """Compute ordered cells, several at a time, and return what came of each.

    Args:
        orders: The cells; where one asks to stop, all do.
        workers: Processes; None for one a GPU, or one a core where there is none.
        gpus: What each worker sees, in rotation, as in ``CUDA_VISIBLE_DEVICES``; None for all that there are.
    """
    if gpus is None:
        gpus = (
            visible_gpus()
            if any(order.config["runtime"]["accelerator"] in ("auto", "cuda") for order in orders)
            else []
        )
    pool = _Pool(orders, min(workers or len(gpus) or cores(), len(orders)), gpus)
    stop = Path(orders[0].stop) if orders and orders[0].stop else None
    while pool.busy:
        time.sleep(_LOOK)
        if stop and stop.exists():
            pool.stop()
    return [outcome or Outcome("interrupted", "asked to stop before it began") for outcome in pool.outcomes]


class _Pool:
    def __init__(self, orders: Sequence[Order], size: int, gpus: Sequence[str]) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(orders)
        self._left: queue.SimpleQueue[tuple[int, Order]] = queue.SimpleQueue()
        for item in enumerate(orders):
            self._left.put(item)
        self._stopped_at: float | None = None
        self._places = [
            Workplace(threads=orders[0].config["runtime"]["threads"], gpu=gpus[slot % len(gpus)] if gpus else None)
            for slot in range(size)
        ]
        self._threads = [threading.Thread(target=self._serve, args=(place,), daemon=True) for place in self._places]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Whether a cell is being computed."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Ask the workers to stop, and end those that take too long."""
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
            for place in self._places:
                place.ask_to_stop()
        elif now - self._stopped_at > GRACE:
            for place in self._places:
                place.kill()

    def _serve(self, place: Workplace) -> None:
        while self._stopped_at is None:
            try:
                number, order = self._left.get_nowait()
            except queue.Empty:
                break
            try:
                self.outcomes[number] = place.carry_out(order)
            except OSError as error:
                self.outcomes[number] = Outcome("unwritten", f"no worker could be started: {error}")
        place.close()


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that a worker may see, asked without torch: the environment's, else the driver's."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()

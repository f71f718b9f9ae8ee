"""Batches of cells as Ray tasks. Torch-free."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any

from dip_stages.errors import LaunchError
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.store.text import first_line
from dip_stages.workers.batches import batches_of
from dip_stages.workers.protocol import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dip_stages.workers.batches import Batch

    Outcomes = dict[str, dict[str, Any]]

__all__ = ["run_on_ray"]

_POLL_SECONDS = 1.0
_CONNECT_SECONDS = 10.0
_ADDRESS = "hydra.launcher.address"


def run_on_ray(
    jobs: Sequence[str],
    *,
    init: Mapping[str, Any],
    options: Mapping[str, Any],
    cells_per_task: int,
    workers: int,
    together: int,
) -> Outcomes:
    """Run jobs as tasks of a Ray cluster, which runs a task again elsewhere when its process or machine dies.

    Args:
        jobs: Absolute paths of the jobs, on a disk that all machines share.
        init: Arguments of ``ray.init``.
        options: Of a task, such as ``num_cpus``, ``num_gpus``, ``max_retries``.
        cells_per_task: Cells of a task.
        workers: Processes that compute them.
        together: How many cells each process computes at once.

    Returns:
        Each cell's :class:`Outcome` as plain values, by its folder's name: ``lost`` where Ray gave up its task.

    Raises:
        LaunchError: If there is no such cluster, or a task fits none of its machines.
    """
    import ray

    _connect(init)
    _check_fits(options)
    task = ray.remote(_compute).options(**options)
    left = {task.remote(batch): batch for batch in batches_of(jobs, cells_per_task, workers, together=together)}
    outcomes: Outcomes = {}
    while left:
        ended, _ = ray.wait(list(left), num_returns=1, timeout=_POLL_SECONDS)
        for result in ended:
            outcomes |= _outcomes(result, left.pop(result))
    return outcomes


def _compute(batch: Batch) -> Outcomes:
    return batch()


def _outcomes(result: Any, batch: Batch) -> Outcomes:
    import ray

    try:
        outcomes: Outcomes = ray.get(result)
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        lost = Outcome(OutcomeStatus.LOST, f"Ray gave up its task: {reason}")
        return {cell: lost.plain() for cell in batch.cells}
    return outcomes


def _connect(init: Mapping[str, Any]) -> None:
    import ray

    if ray.is_initialized():
        return
    _check_answers(str(init.get("address")))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**init)
    except (ConnectionError, ValueError, RuntimeError, TypeError, ray.exceptions.RayError) as error:
        problem = f", which does not start with {dict(init)}: {error}"
        raise LaunchError(problem, setting="hydra/launcher", got="ray") from error
    finally:
        for number, handler in before.items():  # Ray replaces the driver's handler of SIGTERM
            signal.signal(number, handler)


def _check_answers(address: str) -> None:
    """Refuse an address where no process listens: Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise LaunchError(
            f", where no cluster is: {error}",
            setting=_ADDRESS,
            got=address,
            allowed="auto, host:port or ray://host:port of one that runs, null for one of this machine",
        ) from error


def _check_fits(options: Mapping[str, Any]) -> None:
    """Refuse a task that fits no machine of the cluster: Ray would wait for ever."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": float(options.get("num_cpus") or 0), "GPU": float(options.get("num_gpus") or 0)}
    if not any(all(machine.get(name, 0.0) >= number for name, number in wanted.items()) for machine in machines):
        has = [{name: machine.get(name, 0.0) for name in wanted} for machine in machines]
        raise LaunchError(
            f", a task of which wants {wanted}; the cluster's machines have {has}", setting="hydra/launcher", got="ray"
        )

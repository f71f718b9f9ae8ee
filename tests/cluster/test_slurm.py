"""Sweeps on a real Slurm of this machine, which `slurm_up.sh` installs and starts; its MaxArraySize is 5."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.leases import holder
from dip_stages.store.records import read_record
from dip_stages.workers.slurm_queue import live_slurm_jobs
from tests.cluster.sweeps import LONG, metrics_in, module, running, start, sweep, until
from tests.lab import EVERYTHING, write_lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("slurm"), pytest.mark.xdist_group("slurm")]

SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.mem_gb=2", "hydra.launcher.max_batch_size=4")
TINY = ("sweep=custom", "preset=smoke", "method=baseline", "trainer.iterations=8")


def slurm_jobs_of(folder: Path) -> dict[str, str]:
    """Return the Slurm job of each cell, of all runs whose folder is there."""
    noted: dict[str, str] = {}
    for path in folder.glob("outputs/*/runs/*/jobs.json"):
        noted |= json.loads(path.read_text())
    return noted


def gpus_in(folder: Path, name: str) -> list[str]:
    """Return the GPUs that the cells of a sweep saw."""
    records = folder.glob(f"outputs/{name}/*/record.json")
    return [str(read_record(path.parent).computed["cuda_visible_devices"]) for path in records]


def call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_sweep_larger_than_an_array_has_the_records_of_the_local_launcher(tmp_path: Path) -> None:
    smoke = ("sweep=smoke", "trainer.iterations=8")
    for where, launcher in (("local", ()), ("slurm", SLURM)):
        (tmp_path / where).mkdir()
        code, output = sweep(tmp_path / where, *smoke, *launcher)
        assert code == 0, output
        assert "8 done of 8 cells" in output
        assert "`srun`" not in output, "Lightning's remark on it must not reach users"
    local, slurm = metrics_in(tmp_path / "local"), metrics_in(tmp_path / "slurm")
    assert len(slurm) == 8
    assert slurm == local
    code, output = sweep(tmp_path / "slurm", *smoke, *SLURM)
    assert (code, "nothing to do: all 8 cells" in output) == (0, True)


def test_options_that_are_written_outside_of_the_package_run_on_the_cluster(tmp_path: Path) -> None:
    write_lab(tmp_path)
    code, output = sweep(tmp_path, *EVERYTHING, *SLURM, "hydra.launcher.cells_per_job=3")
    assert code == 0, output
    assert "own: 6 done of 6 cells" in output


def test_a_failure_in_the_first_array_does_not_stop_the_second(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, *TINY, "method.input_scale=1e39,0.1,0.2", *SLURM, "hydra.launcher.max_batch_size=2")
    assert code == 1
    assert "1 of 3 cells failed" in output
    assert "diverged" in output
    assert "2 done" in output


def test_a_cell_whose_job_is_cancelled_is_reported_and_the_same_command_finishes_it(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    process = start(tmp_path, *LONG, "seed=0,1", *SLURM)
    until(lambda: running(tmp_path), "a cell to begin")
    cell = running(tmp_path)[0].name
    call("scancel", slurm_jobs_of(tmp_path)[cell])
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1, output
    assert "1 of 2 cells failed" in output
    assert f"{cell}: " in output
    assert "CANCELLED" in output
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *SLURM)
    assert code == 0, output
    assert "1 cell to run" in output or "1 of 2 cells to run" in output
    assert metrics_in(tmp_path) == undisturbed


def test_a_job_whose_time_is_nearly_up_is_requeued_and_finishes_with_the_same_numbers(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    process = start(tmp_path, *LONG, "seed=0,1,2", *SLURM, "hydra.launcher.cells_per_job=2")  # an array of two jobs
    until(lambda: running(tmp_path), "a cell to begin")
    cell = running(tmp_path)[0]
    call("scancel", "--signal=USR2", slurm_jobs_of(tmp_path)[cell.name])
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert read_record(cell).iterations["resumed_at"], "it resumed from its checkpoint"
    metrics = metrics_in(tmp_path)
    assert len(metrics) == 3
    assert {name: metrics[name] for name in undisturbed} == undisturbed


def test_an_interruption_takes_back_what_waits_and_the_same_command_finishes(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    process = start(tmp_path, *LONG, "seed=0,1", *SLURM, "hydra.launcher.array_parallelism=1")
    until(lambda: running(tmp_path), "a cell to begin")
    submitted = set(slurm_jobs_of(tmp_path).values())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted: 2 of 2 cells are left" in output
    until(lambda: not submitted & set(live_slurm_jobs() or {}), "the jobs to end", seconds=30)
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *SLURM)
    assert code == 0, output
    assert metrics_in(tmp_path) == undisturbed


@contextmanager
def halted(cell: Path) -> Iterator[None]:
    """Halt the process that computes a cell; it continues afterwards."""
    found = holder(cell)
    assert found is not None
    assert found[0] is not None
    os.kill(found[0].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(found[0].pid, signal.SIGCONT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "asked to leave them"])
def test_when_the_driver_is_gone_status_shows_what_the_cluster_does_and_a_new_driver_waits_for_it(
    tmp_path: Path, undisturbed: dict[str, object], how: signal.Signals
) -> None:
    one = ("hydra.launcher.array_parallelism=1", "sweep.on_interrupt=leave")
    process = start(tmp_path, *LONG, "seed=0,1", *SLURM, *one)
    until(lambda: running(tmp_path), "a cell to begin")
    # A driver that is interrupted still writes its report, in which time the cell would end.
    with halted(running(tmp_path)[0]):
        process.send_signal(how)
        process.communicate()
        submitted = slurm_jobs_of(tmp_path)
        output = module(tmp_path, "dip_stages.status", "outputs/custom")
    assert "1 running, 1 queued of 2 cells" in output
    assert "PENDING" in output
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *SLURM)
    assert code == 0, output
    assert "cells are in the queue of the cluster" in output
    array = next(iter(submitted.values())).partition("_")[0]
    ended = call("sacct", "-n", "-X", "-P", "--format=State", f"--jobs={array}").split()
    assert ended == ["COMPLETED"] * 2, "nothing was submitted twice"
    assert metrics_in(tmp_path) == undisturbed


def test_cells_may_be_left_to_the_cluster_and_gathered_later(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, *TINY, "seed=0,1", *SLURM, "sweep.detach=true")
    assert code == 0, output
    assert "2 cells left to the cluster" in output
    assert not metrics_in(tmp_path)
    until(lambda: len(metrics_in(tmp_path)) == 2, "the jobs to end")
    assert "2 done of 2 cells" in module(tmp_path, "dip_stages.report", "outputs/custom")


def test_each_job_sees_its_own_gpu_and_the_cells_of_a_job_share_it(tmp_path: Path) -> None:
    gpu = ("hydra/launcher=submitit_slurm_gpu", "hydra.launcher.mem_gb=2", "runtime.accelerator=cpu")
    code, output = sweep(tmp_path, *LONG, "trainer.iterations=1000", "seed=0,1", *gpu)
    assert code == 0, output
    assert sorted(gpus_in(tmp_path, "custom")) == ["0", "1"], "two jobs at once, a GPU each"
    packed = ("hydra.launcher.cells_per_job=3", "hydra.launcher.workers=2", "hydra.launcher.cpus_per_task=2")
    code, output = sweep(tmp_path, *TINY, "seed=2,3,4", "sweep.name=packed", *gpu, *packed)
    assert code == 0, output
    seen = [
        read_record(path.parent).computed["cuda_visible_devices"] for path in tmp_path.glob("*/packed/*/record.json")
    ]
    assert seen == ["0"] * 3


def test_what_the_cluster_does_not_take_is_said_before_anything_runs(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, *TINY, "seed=0,1", *SLURM, "hydra.launcher.partition=nowhere")
    assert code == 2
    assert "the cluster does not take the jobs" in output
    assert "invalid partition" in output
    code, output = sweep(tmp_path, *TINY, "seed=0,1", "hydra/launcher=local", "sweep.detach=true")
    assert code == 2
    assert "sweep.detach: got true with hydra/launcher=local" in output

"""Sweeps on a real Ray cluster of two nodes on this machine: a head and a worker, each a process of its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from dip_stages.records import read_record
from tests.cluster.conftest import ADDRESS
from tests.cluster.sweeps import metrics_in, running, start, sweep, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

RAY = ("hydra/launcher=ray", f"hydra.launcher.address={ADDRESS}")
LONG = ("sweep=custom", "preset=smoke", "method=baseline", "trainer.iterations=3000", "runtime.checkpoint_every=1")


def tasks() -> list[psutil.Process]:
    """Return the processes in which Ray runs tasks: the parents of our workers."""
    workers = [process for process in psutil.process_iter() if "dip_stages.worker" in _line(process)]
    parents = [process.parent() for process in workers]
    return [parent for parent in parents if parent is not None and "ray::" in _line(parent)]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


@pytest.mark.usefixtures("ray_cluster")
def test_the_smoke_sweep_has_the_records_of_the_local_launcher(tmp_path: Path) -> None:
    for where, launcher in (("local", ()), ("ray", RAY)):
        (tmp_path / where).mkdir()
        code, said = sweep(tmp_path / where, "sweep=smoke", "trainer.iterations=8", *launcher)
        assert code == 0, said
        assert "8 done of 8 cells" in said
    assert metrics_in(tmp_path / "ray") == metrics_in(tmp_path / "local")


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_task_is_run_again_and_the_sweep_ends_complete(tmp_path: Path) -> None:
    for where in ("local", "ray"):
        (tmp_path / where).mkdir()
    assert sweep(tmp_path / "local", *LONG, "seed=0,1,2")[0] == 0
    process = start(tmp_path / "ray", *LONG, "seed=0,1,2", *RAY)
    until(lambda: running(tmp_path / "ray") and tasks(), "a cell to begin")
    os.kill(tasks()[0].pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert "3 done of 3 cells" in said
    assert metrics_in(tmp_path / "ray") == metrics_in(tmp_path / "local")
    resumed = [read_record(path.parent).iterations["resumed_at"] for path in tmp_path.glob("ray/*/*/*/record.json")]
    assert any(resumed), "the killed cell went on from its checkpoint"


@pytest.mark.usefixtures("ray_cluster")
def test_each_task_sees_its_own_gpu(tmp_path: Path) -> None:
    settings = ("hydra.launcher.num_gpus=1", "runtime.accelerator=cpu", "trainer.iterations=400")
    code, said = sweep(tmp_path, *LONG, "seed=0,1", *RAY, *settings)
    assert code == 0, said
    seen = [read_record(path.parent).computed["cuda_visible_devices"] for path in tmp_path.glob("*/*/*/record.json")]
    assert seen == ["0", "0"], "each node of this cluster has one GPU, its 0"


@pytest.mark.usefixtures("ray_cluster")
def test_what_no_machine_has_room_for_is_said_before_anything_runs(tmp_path: Path) -> None:
    code, said = sweep(tmp_path, *LONG, "seed=0,1", *RAY, "hydra.launcher.num_gpus=2")
    assert code == 2
    assert "a task wants {'CPU': 1.0, 'GPU': 2.0}" in said
    code, said = sweep(tmp_path, *LONG, "seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1")
    assert code == 2
    assert "no cluster at hydra.launcher.address=127.0.0.1:1" in said


def test_a_cluster_of_this_machine_is_made_for_a_sweep_and_gives_gpus_in_turn(tmp_path: Path) -> None:
    own = ("hydra/launcher=ray", "hydra.launcher.num_gpus=1", "+hydra.launcher.init.num_gpus=2")
    settings = ("+hydra.launcher.init.num_cpus=2", "runtime.accelerator=cpu", "trainer.iterations=1000")
    code, said = sweep(tmp_path, *LONG, "seed=0,1", *own, *settings)
    assert code == 0, said
    seen = [read_record(path.parent).computed["cuda_visible_devices"] for path in tmp_path.glob("*/*/*/record.json")]
    assert sorted(seen) == ["0", "1"]

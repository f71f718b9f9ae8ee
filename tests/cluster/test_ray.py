"""Sweeps on a real Ray cluster of two nodes on this machine: a head and a worker, each a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from dip_stages.store.leases import holder
from dip_stages.store.records import read_record
from tests.cluster.conftest import ADDRESS
from tests.cluster.sweeps import LONG, checkpointed, metrics_in, start, sweep, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray")]

RAY = ("hydra/launcher=ray", f"hydra.launcher.address={ADDRESS}")


def task_of(cell: Path) -> psutil.Process:
    """Return the process in which Ray runs a cell's task: it started the server that forked the cell's worker."""
    found = holder(cell)
    assert found is not None
    assert found[0] is not None
    _, task, *_ = psutil.Process(found[0].pid).parents()
    assert "ray::" in " ".join(task.cmdline())
    return task


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_has_the_records_of_the_local_launcher(tmp_path: Path) -> None:
    small = ("sweep=custom", "preset=smoke", "method=baseline,staged,aseqdip", "trainer.iterations=8")
    for where, launcher in (("local", ()), ("ray", RAY)):
        (tmp_path / where).mkdir()
        code, output = sweep(tmp_path / where, *small, *launcher)
        assert code == 0, output
        assert "3 done of 3 cells" in output
    assert metrics_in(tmp_path / "ray") == metrics_in(tmp_path / "local")


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_task_is_run_again_and_the_sweep_ends_complete(tmp_path: Path, undisturbed: dict[str, object]) -> None:
    process = start(tmp_path, *LONG, "seed=0,1", *RAY)
    until(lambda: checkpointed(tmp_path), "a cell to have a checkpoint")
    cell = checkpointed(tmp_path)[0]
    task_of(cell).kill()
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert "2 done of 2 cells" in output
    assert metrics_in(tmp_path) == undisturbed
    assert read_record(cell).iterations["resumed_at"], "the killed cell resumed from its checkpoint"


@pytest.mark.usefixtures("ray_cluster")
def test_each_task_sees_its_own_gpu(tmp_path: Path) -> None:
    settings = ("hydra.launcher.num_gpus=1", "runtime.accelerator=cpu", "trainer.iterations=400")
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *RAY, *settings)
    assert code == 0, output
    seen = [read_record(path.parent).computed["cuda_visible_devices"] for path in tmp_path.glob("*/*/*/record.json")]
    assert seen == ["0", "0"], "each node of this cluster has one GPU, its 0"


@pytest.mark.usefixtures("ray_cluster")
def test_what_no_machine_has_room_for_is_said_before_anything_runs(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *RAY, "hydra.launcher.num_gpus=2")
    assert code == 2
    assert "hydra/launcher: got 'ray', a task of which wants {'CPU': 1.0, 'GPU': 2.0}" in output
    code, output = sweep(tmp_path, *LONG, "seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1")
    assert code == 2
    assert "hydra.launcher.address: got '127.0.0.1:1'" in output


def test_a_cluster_of_this_machine_is_made_for_a_sweep_and_gives_gpus_in_turn(tmp_path: Path) -> None:
    own = ("hydra/launcher=ray", "hydra.launcher.num_gpus=1", "+hydra.launcher.init.num_gpus=2")
    settings = ("+hydra.launcher.init.num_cpus=2", "runtime.accelerator=cpu", "trainer.iterations=1000")
    code, output = sweep(tmp_path, *LONG, "seed=0,1", *own, *settings)
    assert code == 0, output
    seen = [read_record(path.parent).computed["cuda_visible_devices"] for path in tmp_path.glob("*/*/*/record.json")]
    assert sorted(map(str, seen)) == ["0", "1"]

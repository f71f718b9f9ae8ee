"""A real Slurm and a real Ray on this machine, started when they are first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.sweeps import ENVIRONMENT, LONG, metrics_in, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "127.0.0.1:6399"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The metrics of two long cells, computed by the local launcher, once for all processes that test."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "undisturbed"
    folder.mkdir(exist_ok=True)
    code, output = sweep(
        folder, *LONG, "seed=0,1"
    )  # two processes may run it at once: each waits for the other's cells
    assert code == 0, output
    return metrics_in(folder)


@pytest.fixture(scope="session")
def slurm() -> None:
    log = Path("/tmp/slurm-up.log")  # noqa: S108 - a pipe would be held open by the daemons
    with log.open("w") as file:
        up = subprocess.run([Path(__file__).with_name("slurm_up.sh")], stdout=file, stderr=file, check=False)
    assert up.returncode == 0, log.read_text()


def ray(*arguments: str) -> None:
    program = Path(sys.executable).with_name("ray")
    with Path("/tmp/ray-up.log").open("a+") as file:  # noqa: S108 - a pipe would be held open by the daemons
        done = subprocess.run([program, *arguments], env=ENVIRONMENT, stdout=file, stderr=file, check=False)
        file.seek(0)
        assert done.returncode == 0, file.read()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    ray("stop", "--force")
    ray("start", "--head", "--port=6399", "--num-cpus=1", "--num-gpus=1", "--include-dashboard=false")
    ray("start", f"--address={ADDRESS}", "--num-cpus=1", "--num-gpus=1")
    yield
    ray("stop", "--force")

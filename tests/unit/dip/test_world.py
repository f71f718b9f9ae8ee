from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from dip_stages.dip.lightning import trainer_of
from dip_stages.dip.world import pl

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

RANKS = {
    "RANK": "gold", "LOCAL_RANK": "3", "NODE_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "cells",
    "JSM_NAMESPACE_RANK": "1", "OMPI_COMM_WORLD_RANK": "1", "PMI_RANK": "1", "TORCHELASTIC_RUN_ID": "x",
    "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "no port",
    "PL_TRAINER_NUM_NODES": "2", "PL_TRAINER_MAX_STEPS": "1",
}  # fmt: skip

PROGRAM = """
import os, signal, sys
from pathlib import Path
before = dict(os.environ)
from dip_stages.cells.build import build_logger
from dip_stages.cells.identity import cell_of
from dip_stages.cells.runner import run_cell
from dip_stages.config import parse
from dip_stages.config.compose import compose_apart

cell = cell_of(parse(compose_apart(["preset=smoke", "method=baseline", "trainer.iterations=4", "trainer.chunk=2"])))
record = run_cell(cell, Path("cell"), threads=1)
import torch
assert record.status == "done", record.error
assert record.iterations["run"] == 4
assert not torch.distributed.is_initialized()
assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
assert {name: value for name, value in os.environ.items() if name in before} == before, "the environment is changed"
"""


def test_a_cell_is_alone_in_its_world_whatever_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("a checkpoint of another project, which Lightning would load under srun")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={**os.environ, **RANKS}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "cell" / "logs" / "metrics.csv").read_text().splitlines()) == 3, "the logger is silent"


def test_ranks_that_are_set_after_the_import_change_no_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    trainer = trainer_of("cpu", logger=False, callbacks=[])
    assert rank_zero_only.rank == 0  # type: ignore[attr-defined]
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size) == (0, 0, 0, 1)
    assert (trainer.num_nodes, trainer.max_steps, trainer.is_global_zero) == (1, -1, True)
    assert isinstance(trainer.strategy, pl.strategies.SingleDeviceStrategy)
    environment = trainer._accelerator_connector.cluster_environment
    assert (environment.local_rank(), environment.node_rank(), environment.creates_processes_externally) == (
        0,
        0,
        False,
    )
    environment.teardown()
    assert os.environ["WORLD_SIZE"] == "4"
    assert signal.getsignal(signal.SIGUSR1) == before

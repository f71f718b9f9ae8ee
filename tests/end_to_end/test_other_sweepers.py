"""Sweepers that are not ours ask for cells, on each launcher, and get what they search by."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SWEEPER = '''
import json
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

ConfigStore.instance().store(
    group="hydra/sweeper", name="search", node={"_target_": "hydra_plugins.search.search.Search"}
)


class Search(Sweeper):
    """Asks for two points, then for the better one of them again and a new one."""

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        lowest = [argument for argument in arguments if argument.startswith("trainer.lr=")]
        rest = [argument for argument in arguments if argument not in lowest]
        rates, asked = lowest[0].partition("=")[2].split(","), []
        for _ in range(2):
            jobs = [[*rest, f"trainer.lr={rate}"] for rate in rates]
            returns = self.launcher.launch(jobs, initial_job_idx=len(asked))
            values = [each.return_value for each in returns]
            asked += zip(rates, values)
            rates = [min(asked)[0], "0.002"]
        Path("asked.json").write_text(json.dumps(asked))
'''
TINY = ("preset=smoke", "sweep=custom", "sweep.name=searched", "trainer.iterations=8", "trainer.chunk=2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a sweeper of somebody else's."""
    plugin = tmp_path / "hydra_plugins" / "search"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").touch()
    (plugin / "search.py").write_text(SWEEPER)
    return tmp_path


def searched(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "dip_stages", "-m", "hydra/sweeper=search", *TINY, *overrides],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("launcher", ["local", "basic", "joblib", "submitit_local"])
def test_a_sweeper_gets_the_objective_of_each_cell_that_it_asks_for(folder: Path, launcher: str) -> None:
    done = searched(folder, f"hydra/launcher={launcher}", "trainer.lr=0.01,0.001")
    assert done.returncode == 0, done.stderr
    assert "is measured against the clean image" in done.stderr + done.stdout or launcher == "joblib"
    asked = json.loads((folder / "asked.json").read_text())
    records = [read_record(path.parent) for path in folder.glob("outputs/searched/*/record.json")]
    assert len(records) == 3  # four were asked for, one of them twice
    psnr = {
        str(record.settings["trainer"]["lr"]): record.metrics["result"]["psnr"] for record in records if record.metrics
    }
    assert [psnr[rate] for rate, _ in asked] == [value for _, value in asked]
    assert not list(folder.glob("outputs/searched/runs/*"))
    if launcher in ("local", "submitit_local"):  # nothing is left, and no job is started for it
        done = searched(folder, f"hydra/launcher={launcher}", "trainer.lr=0.01,0.001")
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "asked.json").read_text()) == asked


def test_what_grids_alone_does_is_refused(folder: Path) -> None:
    done = searched(folder, "sweep.plan_only=true", "trainer.lr=0.01,0.001")
    assert done.returncode == 2
    assert done.stderr == "sweep.plan_only: got true with another sweeper than grids; allowed: hydra/sweeper=grids\n"


def test_a_failed_cell_raises_or_gives_nan(folder: Path) -> None:
    failing = ("trainer.lr=1e9,0.01", "trainer.rollback.attempts=0")
    done = searched(folder, *failing)
    assert done.returncode != 0
    assert "the cell failed: the fit diverged" in done.stderr
    done = searched(folder, *failing, "failed_objective=nan", "objective=stopping.statistic", "stopping=es_emv")
    assert done.returncode == 0, done.stderr
    (_, first), (_, second), *_ = json.loads((folder / "asked.json").read_text())
    assert math.isnan(first)
    assert 0 < second < 1
    assert "clean" not in done.stderr

"""The documentation's commands for clusters, with small settings, on real clusters."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.cluster.conftest import ADDRESS
from tests.cluster.sweeps import metrics_in, sweep, until
from tests.end_to_end.test_documentation import ON_CLUSTERS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

SMALL = ("preset=smoke", "trainer.iterations=2", "arch=unet", "loss=mse", "scheduler=linear", "beta_max=0.01")
HERE = {"account": None, "partition": None, "address": ADDRESS, "setup": "[echo ready]", "workers": "2"}
"""The values of a command's settings on this machine's clusters; None for settings that they lack."""

IN_GROUPS = [
    pytest.param(command, marks=pytest.mark.xdist_group("ray" if "launcher=ray" in command else "slurm"))
    for command in ON_CLUSTERS
]
"""Each command in the xdist group of its cluster, which one process runs."""


def test_there_are_commands_for_both_and_each_part_of_one_is_a_setting_of_its_own() -> None:
    for argument in (argument for command in ON_CLUSTERS for argument in shlex.split(command)[2:]):
        assert argument.count("hydra") <= 1, argument
    assert sum("launcher=ray" in command for command in ON_CLUSTERS) >= 2
    assert sum("launcher=submitit_slurm" in command for command in ON_CLUSTERS) >= 5


@pytest.mark.parametrize("command", IN_GROUPS)
def test_a_command_for_a_cluster_runs_when_made_small(
    tmp_path: Path, request: pytest.FixtureRequest, command: str
) -> None:
    request.getfixturevalue("ray_cluster" if "launcher=ray" in command else "slurm")
    arguments = []
    for argument in shlex.split(command)[2:]:
        key, _, value = argument.partition("=")
        here = HERE.get(key.removeprefix("hydra.launcher."), value)
        if here is not None:
            arguments.append(f"{key}={here}")
    memory = ("hydra.launcher.mem_gb=2",) if "submitit" in command else ()
    code, output = sweep(tmp_path, *arguments, *SMALL, *memory)
    assert code == 0, output
    until(lambda: len(metrics_in(tmp_path)) >= 1, "the cells to end")

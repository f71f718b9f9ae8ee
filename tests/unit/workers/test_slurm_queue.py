from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dip_stages.status import status
from dip_stages.store.json_files import write_json
from dip_stages.store.plans import PLAN_SCHEMA
from dip_stages.store.records import RUNS
from dip_stages.workers.run_folder import Run
from dip_stages.workers.slurm_queue import STOP, Queue, end_of, live_slurm_jobs, note_slurm_jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Stand-ins for Slurm's tools, which print given texts."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")

    def prints(tool: str, text: str) -> None:
        (tools / tool).write_text(f"#!/bin/sh\nprintf '{text}'\n")
        (tools / tool).chmod(0o755)

    return prints


def test_without_slurm_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert live_slurm_jobs() is None
    assert end_of("7_1") == "Slurm job 7_1 ended"
    assert dict(Queue(tmp_path).cells) == {}


def test_the_jobs_of_a_cluster_are_known_by_their_cells(tmp_path: Path, slurm: Callable[[str, str], None]) -> None:
    slurm("squeue", "7_0|RUNNING\\n7_1|PENDING\\n8|PENDING\\n")
    root = tmp_path / "sweep"
    for run in ("one", "two", "stopped"):
        (root / RUNS / run).mkdir(parents=True)
    note_slurm_jobs(root / RUNS / "one", {"a": "7_0", "b": "7_1"})
    note_slurm_jobs(root / RUNS / "one", {"c": "7_2"})
    note_slurm_jobs(root / RUNS / "two", {"d": "9"})
    note_slurm_jobs(root / RUNS / "stopped", {"e": "8"})
    (root / RUNS / "stopped" / STOP).touch()
    queue = Queue(root)
    assert dict(queue.cells) == {"a": "Slurm job 7_0, RUNNING", "b": "Slurm job 7_1, PENDING"}
    assert queue.runs == {"one", "stopped"}
    with Run(root) as own:
        own.clean()
    assert {path.name for path in (root / RUNS).iterdir()} == {"one", "stopped"}, "what jobs still read is kept"


def test_a_slurm_that_does_not_answer_takes_nothing_back(tmp_path: Path, slurm: Callable[[str, str], None]) -> None:
    slurm("squeue", "7|PENDING\\n")
    (tmp_path / RUNS / "one").mkdir(parents=True)
    note_slurm_jobs(tmp_path / RUNS / "one", {"a": "7"})
    queue = Queue(tmp_path, every=0)
    assert set(queue.cells) == {"a"}
    (tmp_path / "tools" / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert set(queue.cells) == {"a"}
    with Run(tmp_path) as own:
        own.clean()
    assert {path.name for path in (tmp_path / RUNS).iterdir()} == {"one"}, "its jobs may live"
    slurm("squeue", "")
    assert dict(queue.cells) == {}


def test_how_a_slurm_job_ended_is_taken_from_the_accounting(slurm: Callable[[str, str], None]) -> None:
    slurm("sacct", "CANCELLED by 0\\n")
    assert end_of("7_1") == "Slurm job 7_1 ended: CANCELLED"
    slurm("sacct", "")
    assert end_of("7_1") == "Slurm job 7_1 ended"


def test_status_shows_what_waits_in_a_queue(tmp_path: Path, slurm: Callable[[str, str], None]) -> None:
    slurm("squeue", "7_0|PENDING\\n")
    rest: dict[str, object] = {"iterations": 4, "axes": {}, "sees_clean": False}
    cells = [{"id": name, "folder": name, **rest} for name in ("a", "b")]
    (tmp_path / RUNS / "one").mkdir(parents=True)
    write_json(tmp_path / "plan.json", {"schema": PLAN_SCHEMA, "name": "test", "command": "again", "cells": cells})
    note_slurm_jobs(tmp_path / RUNS / "one", {"a": "7_0"})
    output = str(status(tmp_path))
    assert "test: 1 queued, 1 to do of 2 cells" in output
    assert "  queued  a: Slurm job 7_0, PENDING" in output

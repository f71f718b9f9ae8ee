from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.store import provenance
from dip_stages.store.records import read_record
from dip_stages.workers.jobs import Job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import StopFlag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeCell


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What git is asked, from a process that has not asked it yet."""
    asked = []
    run = subprocess.run

    def noted(command: list[str], **how: Any) -> Any:
        asked.append(command)
        return run(command, **how)

    monkeypatch.setattr(subprocess, "run", noted)
    provenance.git_commit.cache_clear()
    yield asked
    provenance.git_commit.cache_clear()


def test_git_is_asked_once_however_many_cells_and_checkpoints(
    make_cell: MakeCell, tmp_path: Path, asked: list[Any]
) -> None:
    commits = set()
    for seed in (0, 1):
        often = ("trainer.iterations=8", "trainer.chunk=2", "runtime.checkpoint_every=0", f"seed={seed}")
        assert compute(Job.of(make_cell(*often), tmp_path / str(seed)), StopFlag()).status == "done"
        commits.add(read_record(tmp_path / str(seed)).computed["git_commit"])
    assert len(asked) <= 1, "none outside a checkout"
    assert len(commits) == 1


def test_what_is_computed_on_is_what_provenance_says_too() -> None:
    computed = provenance.computed_on("cpu", bfloat16=True)
    assert computed.keys() == {"accelerator", "device", "precision", "threads"}
    assert provenance.provenance("cpu", bfloat16=True).items() >= computed.items()

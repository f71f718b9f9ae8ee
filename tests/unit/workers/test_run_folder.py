from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.store.leases import Lease, holder
from dip_stages.store.records import RUNS
from dip_stages.workers import run_folder
from dip_stages.workers.run_folder import Run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_run_that_is_being_made_is_not_removed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path) as other:

        def slow(folder: Path) -> Lease:
            other.clean()
            lease = Lease(folder)
            other.clean()
            return lease

        monkeypatch.setattr(run_folder, "Lease", slow)
        with Run(tmp_path) as own:
            other.clean()
            assert own.folder.is_dir()
            found = holder(own.folder)
            assert found is not None
            assert found[1]
        assert not list(own.folder.iterdir()), "its lease was released"


def test_what_runs_of_before_left_is_removed_and_what_is_no_run_disturbs_nothing(tmp_path: Path) -> None:
    (tmp_path / RUNS / "7-dead").mkdir(parents=True)
    (tmp_path / RUNS / "file").write_text("a file")
    (tmp_path / RUNS / "jobs").symlink_to(tmp_path / RUNS / "jobs")
    with Run(tmp_path) as own:
        own.clean()
    assert sorted(path.name for path in (tmp_path / RUNS).iterdir()) == ["file", "jobs"]


def test_a_file_in_the_place_of_the_runs_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / RUNS).write_text("a file")
    with Run(tmp_path) as own:
        assert own.folder.is_dir()
    assert (tmp_path / f"{RUNS}.broken").read_text() == "a file"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages import report
from dip_stages.report.ensembles import ensemble_table, load_ensembles
from dip_stages.store.records import write_record
from tests.reporting import a_record, axes, plan_entry, write_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def an_ensemble(root: Path, name: str, psnr: float, members: Sequence[float], **changes: Any) -> dict[str, Any]:
    cell = axes("baseline", members=len(members), **changes)
    (root / name).mkdir()
    of_members = [{"metrics": {"result": {"psnr": own, "ssim": 0.25}}} for own in members]
    write_record(root / name, a_record(name, cell, psnr, members=of_members))
    return plan_entry(name, cell)


def test_an_ensemble_is_compared_with_the_mean_of_its_members(tmp_path: Path) -> None:
    cells = [
        an_ensemble(tmp_path, "a", 31.0, [30.0, 30.5]),
        an_ensemble(tmp_path, "b", 29.0, [28.0, 29.5], seed=1),
        an_ensemble(tmp_path, "alone", 29.0, [29.0]),
    ]
    write_plan(tmp_path, cells)
    frame = load_ensembles(tmp_path)
    assert list(frame.folder) == ["a", "b"]
    assert list(frame.gain) == [0.75, 0.25]
    (row,) = ensemble_table(frame).to_dict("records")
    assert (row["PSNR"], row["PSNR of a member"], row["gain mean"], row["gain least"]) == (30.0, 29.5, 0.5, 0.25)
    assert (row["SSIM"], row["SSIM of a member"], row["cells"], row["members"]) == (0.5, 0.25, 2, 2)
    text = report.report_sweep(tmp_path)
    assert "## Ensembles" in text
    assert (tmp_path / "report" / "ensemble_gains.md").read_text() in text


def test_without_ensembles_there_is_no_such_table(tmp_path: Path) -> None:
    an_ensemble(tmp_path, "alone", 29.0, [29.0])
    assert load_ensembles(tmp_path).empty
    assert "Ensembles" not in report.report_sweep(tmp_path)

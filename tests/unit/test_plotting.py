from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.plotting import plot_curve, plot_losses

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"iteration": i, **{f"{p}_{m}": i / 2 for p in ("output", "average") for m in ("psnr", "ssim")}} for i in (10, 20)
]


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("stopping", "label"),
    [
        ({"rule": "discrepancy", "needs_clean": False, "iteration": 15}, "kept by discrepancy"),
        ({"rule": "oracle", "needs_clean": True, "iteration": 15}, "kept by oracle (sees the clean image)"),
        ({"rule": "none", "needs_clean": False, "iteration": 20}, None),
        (None, None),
    ],
)
def test_a_curve_marks_the_iteration_that_a_rule_kept(
    tmp_path: Path, stopping: dict[str, Any] | None, label: str | None
) -> None:
    plot_curve(tmp_path / "curve.svg", "a cell", ROWS, [{"budget": 10}, {"budget": 10}], stopping)
    drawn = (tmp_path / "curve.svg").read_text()
    assert "<!-- iteration -->" in drawn
    assert ("<!-- kept by" in drawn) == (label is not None)
    if label:
        assert f"<!-- {label} -->" in drawn


@pytest.mark.usefixtures("drawn")
def test_titles_may_have_dollars_and_letters_that_no_font_has(tmp_path: Path) -> None:
    for name in ("$a_{$", "$\\frac$", "日本"):
        plot_curve(tmp_path / "curve.png", name, ROWS, [{"budget": 10}])
        plot_losses(tmp_path / "losses.svg", [1.0, 0.01], title=name)

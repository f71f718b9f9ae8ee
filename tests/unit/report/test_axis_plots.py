from __future__ import annotations

import pytest

from dip_stages import report
from dip_stages.report.axis_plots import plot_grid
from tests.reporting import PERCEPTUAL, Sweep, axes


@pytest.mark.usefixtures("drawn")
def test_the_heat_map_names_kinds_by_the_axes_that_differ(sweep: Sweep) -> None:
    for image in ("rocket", "coffee"):
        sweep.add(axes("baseline", image=image), 25.0)
        sweep.add(axes("staged", image=image), 26.0)
    sweep.add(axes("staged", image="coffee", **PERCEPTUAL), 22.0)
    assert plot_grid(report.load(sweep.root), sweep.root / "grid.png")
    drawn = (sweep.root / "grid.svg").read_text()
    for label in ("staged, renoised, perceptual (random)", "staged, renoised, mse", "baseline", "26.00", "22.00"):
        assert f"<!-- {label}" in drawn
    assert not plot_grid(report.load(sweep.root)[:1], sweep.root / "one.png")

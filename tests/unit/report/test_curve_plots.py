from __future__ import annotations

from dip_stages import report
from dip_stages.report.curve_plots import _curve, _panels
from dip_stages.report.image_plots import _row
from tests.reporting import PERCEPTUAL, Sweep, axes


def test_a_baseline_is_in_the_curves_of_every_protocol_and_images_are_not_chosen_by_quality(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    first = sweep.add(axes("staged"), 21.0)
    sweep.add(axes("staged", **PERCEPTUAL), 29.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    frame = report.load(sweep.root)
    cells = list(frame.itertuples())
    assert _panels(frame, cells[0]) == ["unet, renoised", "unet, clean (sees clean)"]
    assert _row(frame)["staged, renoised"].folder == first.name


def test_methods_and_protocols_without_a_schedule_have_their_names_in_the_plots(sweep: Sweep) -> None:
    blank = {"protocol": None, "scheduler": None, "budget": None}
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("baseline", input="observed"), 25.5)
    sweep.add(axes("aseqdip", **blank, input="own_output"), 26.0)
    sweep.add(axes("staged", protocol="recorrupted", scheduler=None, budget=None, input="observed"), 27.0)
    sweep.add(axes("staged"), 26.5)
    frame = report.load(sweep.root)
    named = {
        (curve.cell.iloc[0], curve.panel.iloc[0])
        for cell in frame.itertuples()
        for panel in _panels(frame, cell)
        for curve in [_curve((sweep.root / str(cell.folder) / "curves.csv").read_bytes(), cell, panel)]
    }
    panels = ("unet, recorrupted", "unet, renoised")
    everywhere = {(name, panel) for name in ("baseline", "baseline, fed y", "aseqdip") for panel in panels}
    assert named == everywhere | {("recorrupted, mse", panels[0]), ("linear, mse", panels[1])}
    text = report.report_sweep(sweep.root)
    assert "curves.png, pictures.png, details.png" in text
    assert "nan" not in text

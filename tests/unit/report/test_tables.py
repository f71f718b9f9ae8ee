from __future__ import annotations

import pandas as pd
import pytest

from dip_stages import report
from dip_stages.report.tables import comparison, grid, protocols, reported, to_html, to_latex, to_markdown
from tests.reporting import PERCEPTUAL, Sweep, axes


def test_the_reported_numbers_are_the_course_reports() -> None:
    table = reported().set_index("row")
    assert len(table) == 10
    assert list(table.loc["4", ["psnr", "ssim"]]) == [28.9212, 0.9905]
    assert list(table.loc["B2", ["psnr", "ssim"]]) == [25.1043, 0.967]
    assert list(table.loc["5", ["beta_max", "scheduler", "loss"]]) == [0.02, "linear", "mse"]


def test_ours_are_beside_the_reported_numbers_baselines_first(sweep: Sweep) -> None:
    sweep.add(axes("staged", scheduler="scaled_linear", **PERCEPTUAL), 27.0)
    sweep.add(axes("staged", arch="dncnn"), 24.0)
    sweep.add(axes("baseline"), 25.0)
    table = comparison(report.load(sweep.root), "renoised")
    assert table["#"].fillna("").tolist() == ["B1", "4", ""]
    assert table["PSNR ours"].tolist() == [25.0, 27.0, 24.0]
    assert table["PSNR reported"].tolist()[:2] == [26.8612, 28.9212]
    assert pd.isna(table["PSNR reported"][2])


@pytest.mark.usefixtures("unplotted")
def test_the_difference_is_shown_on_the_course_image_alone(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    assert "PSNR diff." not in comparison(report.load(sweep.root), "none")
    assert "No difference is shown" in report.report_sweep(sweep.root)
    theirs = {"source": "butterflies", "course_image": True, "psnr": 20.0, "ssim": 0.3}
    sweep.add(axes("staged", image="butterflies"), 27.0, observation=theirs)
    table = comparison(report.load(sweep.root), "renoised").set_index("#")
    assert table.loc["1", "PSNR diff."] == pytest.approx(27.0 - 27.7683)
    assert table.loc["1", "SSIM diff."] == pytest.approx(0.5 - 0.9827)
    assert table["PSNR diff."].isna()["B1"]


def test_seeds_are_averaged_with_their_deviation(sweep: Sweep) -> None:
    for seed, psnr in enumerate((24.0, 25.0, 29.0)):
        sweep.add(axes("staged", seed=seed), psnr)
    sweep.add(axes("staged", seed=3), None)
    row = comparison(report.load(sweep.root), "renoised").iloc[0]
    assert row["PSNR ours"] == pytest.approx(26.0)
    assert row["± std"] == pytest.approx(7**0.5)
    assert row["cells"] == "3 done, 1 failed"


def test_a_table_a_protocol_each_with_the_baselines(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("staged", protocol="clean"), 29.0)
    sweep.add(axes("staged"), 27.0)
    frame = report.load(sweep.root)
    assert protocols(frame) == ["clean", "renoised"]
    assert comparison(frame, "clean")["PSNR ours"].tolist() == [25.0, 29.0]
    assert comparison(frame, "renoised")["PSNR ours"].tolist() == [25.0, 27.0]


def test_numbers_reported_of_gaussian_noise_are_beside_no_other(sweep: Sweep) -> None:
    sweep.add(axes("baseline"), 25.0)
    sweep.add(axes("baseline", noise="poisson"), 24.0)
    gaussian, poisson = comparison(report.load(sweep.root), "none").to_dict("records")
    assert (gaussian["noise"], gaussian["#"], gaussian["PSNR reported"]) == ("gaussian", "B1", 26.8612)
    assert all(pd.isna(poisson[column]) for column in ("#", "PSNR reported", "SSIM reported"))
    assert (poisson["noise"], poisson["PSNR ours"]) == ("poisson", 24.0)


def test_the_grid_has_mean_and_deviation_over_seeds_and_images_and_marks_the_best(sweep: Sweep) -> None:
    for image, level in (("rocket", 0.0), ("coffee", 2.0)):
        for seed in (0, 1):
            sweep.add(axes("baseline", image=image, seed=seed), 24.0 + level + seed)
            sweep.add(axes("staged", image=image, seed=seed), 25.0 + level)
    table = grid(report.load(sweep.root), "renoised")
    assert table.PSNR.tolist() == ["25.50 ± 1.29", "26.00 ± 1.15"]
    assert table[["images", "cells"]].to_numpy().tolist() == [[2, 4], [2, 4]]
    assert table.best.tolist() == [False, True]
    assert "**26.00 ± 1.15**" in to_markdown(table)
    assert r"\textbf{26.00 $\pm$ 1.15}" in to_latex(table)
    assert "<strong>26.00 ± 1.15</strong>" in to_html(table)
    assert "best" not in to_markdown(table)


def test_latex_and_html_escape_their_own_characters() -> None:
    table = pd.DataFrame({"a_b": ["50% & $x_1$ {#}"], "<i>": ["a < b & c"]})
    latex = to_latex(table)
    assert r"a\_b & <i>" in latex
    assert r"50\% \& \$x\_1\$ \{\#\}" in latex
    assert r"\toprule" in latex
    assert "&lt;i&gt;" in to_html(table)
    assert "a &lt; b &amp; c" in to_html(table)


def test_markdown_shows_a_hole_as_a_dash() -> None:
    table = pd.DataFrame(
        {"beta_max": [0.01], "PSNR ours": [25.126], "SSIM ours": [0.98765], "PSNR diff.": [1.0], "x": [None]}
    )
    assert to_markdown(table).splitlines()[-1].split() == [
        "|",
        "0.01",
        "|",
        "25.13",
        "|",
        "0.988",
        "|",
        "+1.00",
        "|",
        "–",
        "|",
    ]

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, wilcoxon

from dip_stages.cells.identity import AXES
from dip_stages.report.paired_effects import effect_of, effects, pairs_of
from tests.reporting import BASELINE, PERCEPTUAL, cells, level


def test_the_interval_is_scipys_percentile_bootstrap_where_each_image_has_one_pair() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 12)
    effect = effect_of(differences.tolist(), [f"image {number}" for number in range(12)])
    assert effect is not None
    theirs = bootstrap((differences,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert (effect.low, effect.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert effect.p == pytest.approx(wilcoxon(differences).pvalue)
    assert effect.mean == pytest.approx(differences.mean())
    assert (effect.pairs, effect.images) == (12, 12)


def test_more_pairs_of_the_same_images_do_not_narrow_the_interval() -> None:
    names = ["a", "b", "c", "d"]
    once = effect_of([0.0, 1.0, 2.0, 3.0], names)
    often = effect_of([0.0, 1.0, 2.0, 3.0] * 10, names * 10)
    assert once is not None
    assert often is not None
    assert (often.low, often.high) == (once.low, once.high)


def test_of_one_image_seeds_are_drawn_and_pairs_where_these_are_one_too() -> None:
    differences, seeds = [0.0, 1.0, 2.0, 3.0] * 5, [0, 1, 2, 3] * 5
    by_seed = effect_of(differences, ["a"] * 20, seeds)
    by_image = effect_of(differences, [str(seed) for seed in seeds])
    by_pair = effect_of(differences, ["a"] * 20, [0] * 20)
    assert by_seed is not None
    assert by_image is not None
    assert by_pair is not None
    assert (by_seed.low, by_seed.high) == (by_image.low, by_image.high)
    assert by_pair.high - by_pair.low < by_seed.high - by_seed.low


def test_no_pairs_have_no_effect_and_equal_pairs_an_effect_of_zero() -> None:
    assert effect_of([], []) is None
    effect = effect_of([0.0] * 8, list("abcdefgh"))
    assert effect is not None
    assert (effect.mean, effect.low, effect.high, effect.p) == (0, 0, 0, 1)


def test_pairs_share_all_but_what_differs_and_holes_are_left_out() -> None:
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=lambda row: level(row, scaled_linear=0.5))
    frame.loc[0, "status"] = "failed"
    frame.loc[1, "planned"] = False
    on = [axis for axis in AXES if axis != "scheduler"]
    paired = pairs_of(frame, frame.scheduler == "scaled_linear", frame.scheduler == "linear", on, "output_psnr")
    assert paired.difference.tolist() == pytest.approx([0.5] * 4)
    assert sorted(set(paired.image)) == ["astronaut", "coffee"]


def test_a_cell_that_fits_two_others_is_in_no_pair() -> None:
    frame = cells({}, {"scheduler": "scaled_linear"}, psnr=level)
    twice = pd.concat([frame, frame[frame.scheduler == "linear"]], ignore_index=True)
    on = [axis for axis in AXES if axis != "scheduler"]
    assert pairs_of(twice, twice.scheduler == "scaled_linear", twice.scheduler == "linear", on, "output_psnr").empty


def test_an_axis_has_a_row_a_step_by_protocol() -> None:
    kinds = [{"scheduler": s, **loss} for s in ("linear", "scaled_linear") for loss in ({}, PERCEPTUAL)]
    gains = {"scaled_linear": 0.5, "perceptual": -2.0}
    table = effects(cells(BASELINE, *kinds, psnr=lambda row: level(row, **gains)))
    assert table[["protocol", "axis", "from", "to", "pairs"]].to_numpy().tolist() == [
        ["renoised", "scheduler", "linear", "scaled_linear", 12],
        ["renoised", "loss", "mse", "perceptual (random)", 12],
    ]
    assert table["PSNR vs from"].tolist() == pytest.approx([0.5, -2.0])
    assert table["SSIM vs from"].tolist() == pytest.approx([0.5 / 40, -2 / 40])
    assert table.interval.tolist() == ["+0.50 to +0.50", "-2.00 to -2.00"]

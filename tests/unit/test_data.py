from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dip_stages.data import observe
from dip_stages.pictures import bundled_path, fit_to, read_picture, write_png

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)


def test_the_clean_picture_is_the_picture_itself() -> None:
    observation = observe(PICTURE, beta_max=0.01, noise_seed=0)
    np.testing.assert_array_equal(observation.clean[0].permute(1, 2, 0), PICTURE)
    assert observation.observed.shape == observation.clean.shape == (1, 3, 20, 24)
    assert observation.observed.dtype == torch.float32


def test_the_draws_do_not_depend_on_where_the_picture_lies_in_memory() -> None:
    plain, other = (observe(p, beta_max=0.01, noise_seed=0) for p in (PICTURE, np.asfortranarray(PICTURE)))
    assert torch.equal(plain.observed, other.observed)


def test_the_noise_differs_between_channels() -> None:
    observation = observe(np.repeat(PICTURE[..., :1], 3, axis=-1), beta_max=0.01, noise_seed=0)
    noise = (observation.observed - observation.clean)[0].flatten(1)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.2


@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_a_picture_that_is_read_is_observed_without_a_warning(name: str, tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", fit_to(read_picture(bundled_path(name)), 16))
    for size in (None, 16):
        picture = fit_to(read_picture(tmp_path / "x.png"), size)
        assert observe(picture, beta_max=0.01, noise_seed=0).observed.isfinite().all()

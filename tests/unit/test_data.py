from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dip_stages.data import observe, to_array, to_tensor
from dip_stages.errors import ConfigError
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


def a_picture(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((40, 50, channels), dtype=np.float32)


def test_an_observation_is_the_picture_plus_unclipped_noise_of_that_variance() -> None:
    observation = observe(a_picture(), beta_max=0.04, noise_seed=0)
    noise = observation.observed - observation.clean
    assert noise.var().item() == pytest.approx(0.04, rel=0.05)
    assert observation.observed.min() < 0
    assert observation.observed.max() > 1
    assert observation.sigma == pytest.approx(0.2)


def test_the_draws_are_the_same_at_every_noise_level() -> None:
    weak, strong = (observe(a_picture(), beta_max=beta, noise_seed=3) for beta in (0.01, 0.04))
    torch.testing.assert_close(2 * (weak.observed - weak.clean), strong.observed - strong.clean, atol=1e-6, rtol=1e-5)


def test_the_draws_depend_on_picture_and_noise_seed() -> None:
    draws = [
        (o.observed - o.clean).flatten()
        for o in (
            observe(a_picture(0), beta_max=0.01, noise_seed=0),
            observe(a_picture(0), beta_max=0.01, noise_seed=1),
            observe(a_picture(1), beta_max=0.01, noise_seed=0),
        )
    ]
    assert torch.corrcoef(torch.stack(draws)).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("beta_max", [0.0, 1.0, -1.0, float("nan")])
def test_a_noise_level_out_of_range_is_refused(beta_max: float) -> None:
    with pytest.raises(ConfigError, match=r"noise\.beta_max"):
        observe(a_picture(), beta_max=beta_max, noise_seed=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensor_and_array_are_each_others_inverse(channels: int) -> None:
    picture = a_picture(channels=channels)
    tensor = to_tensor(picture)
    assert tensor.shape == (1, channels, 40, 50)
    assert tensor[0, -1, 7, 9] == picture[7, 9, -1]
    np.testing.assert_array_equal(to_array(tensor), picture)

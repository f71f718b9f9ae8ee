from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from dip_stages.dip.noise import NOISES
from dip_stages.dip.observation import observe, to_array, to_tensor
from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.reading import bundled_path, fit_to, read_image, write_png
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)


def test_the_clean_image_is_the_image_itself() -> None:
    observation = observe(IMAGE, beta_max=0.01, noise_seed=0)
    np.testing.assert_array_equal(observation.clean[0].permute(1, 2, 0), IMAGE)
    assert observation.observed.shape == observation.clean.shape == (1, 3, 20, 24)
    assert observation.observed.dtype == torch.float32


def test_the_draws_do_not_depend_on_where_the_image_lies_in_memory() -> None:
    plain, other = (observe(p, beta_max=0.01, noise_seed=0) for p in (IMAGE, np.asfortranarray(IMAGE)))
    assert torch.equal(plain.observed, other.observed)


def test_the_noise_differs_between_channels() -> None:
    observation = observe(np.repeat(IMAGE[..., :1], 3, axis=-1), beta_max=0.01, noise_seed=0)
    noise = (observation.observed - observation.clean)[0].flatten(1)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.2


@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_an_image_that_is_read_is_observed_without_a_warning(name: str, tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", fit_to(read_image(bundled_path(name)), 16))
    for size in (None, 16):
        image = fit_to(read_image(tmp_path / "x.png"), size)
        assert observe(image, beta_max=0.01, noise_seed=0).observed.isfinite().all()


def an_image(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((40, 50, channels), dtype=np.float32)


def test_an_observation_is_the_image_plus_unclipped_noise_of_that_variance() -> None:
    observation = observe(an_image(), beta_max=0.04, noise_seed=0)
    noise = observation.observed - observation.clean
    assert noise.var().item() == pytest.approx(0.04, rel=0.05)
    assert observation.observed.min() < 0
    assert observation.observed.max() > 1
    assert observation.sigma == pytest.approx(0.2)


def test_the_draws_are_the_same_at_every_noise_level() -> None:
    weak, strong = (observe(an_image(), beta_max=beta, noise_seed=3) for beta in (0.01, 0.04))
    torch.testing.assert_close(2 * (weak.observed - weak.clean), strong.observed - strong.clean, atol=1e-6, rtol=1e-5)


def test_the_draws_depend_on_image_and_noise_seed() -> None:
    draws = [
        (o.observed - o.clean).flatten()
        for o in (
            observe(an_image(0), beta_max=0.01, noise_seed=0),
            observe(an_image(0), beta_max=0.01, noise_seed=1),
            observe(an_image(1), beta_max=0.01, noise_seed=0),
        )
    ]
    assert torch.corrcoef(torch.stack(draws)).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("beta_max", [0.0, 1.0, -1.0, float("nan")])
def test_a_noise_level_out_of_range_is_refused(beta_max: float) -> None:
    with refused(ConfigError, "noise.beta_max", got=beta_max):
        observe(an_image(), beta_max=beta_max, noise_seed=0)


def noise_of(name: str, brightness: float, beta_max: float = 0.01) -> torch.Tensor:
    """Return the noise on the parts of an image, half of it dark and half bright, that are of that brightness."""
    image = np.full((200, 200, 3), 0.2, np.float32)
    image[100:] = 0.8
    observation = observe(image, beta_max=beta_max, noise_seed=0, noise=name)
    return (observation.observed - observation.clean)[observation.clean == np.float32(brightness)]


@pytest.mark.parametrize("name", ["gaussian", "poisson", "speckle"])
def test_the_variance_is_beta_max_on_average_over_the_image(name: str) -> None:
    noise = torch.cat([noise_of(name, 0.2), noise_of(name, 0.8)])
    assert noise.mean().item() == pytest.approx(0, abs=2e-3)
    assert noise.square().mean().item() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize(("name", "times"), [("gaussian", 1), ("poisson", 4), ("speckle", 16)])
def test_how_the_variance_grows_with_brightness(name: str, times: float) -> None:
    # 0.8 is 4 times 0.2: shot noise has a variance in proportion, speckle a standard deviation.
    assert (noise_of(name, 0.8).var() / noise_of(name, 0.2).var()).item() == pytest.approx(times, rel=0.05)


def test_shot_noise_counts_photons() -> None:
    observation = observe(np.full((64, 64, 1), 0.5, np.float32), beta_max=0.05, noise_seed=0, noise="poisson")
    counts = observation.observed * (0.5 / 0.05)
    torch.testing.assert_close(counts, counts.round())
    assert counts.var().item() == pytest.approx(counts.mean().item(), rel=0.1)


def test_clipped_noise_is_what_8_bits_keep_of_gaussian_noise() -> None:
    plain, clipped = (observe(an_image(), beta_max=0.04, noise_seed=0, noise=n) for n in ("gaussian", "clipped"))
    bytes_kept = clipped.observed * 255
    torch.testing.assert_close(bytes_kept, bytes_kept.round(), atol=1e-4, rtol=0)
    assert (clipped.observed - plain.observed.clamp(0, 1)).abs().max().item() <= 0.5001 / 255
    assert (clipped.observed - clipped.clean).var() < 0.9 * 0.04


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_is_the_same_for_the_same_image_and_seed(name: str) -> None:
    first, again, other = (observe(an_image(), beta_max=0.01, noise_seed=s, noise=name) for s in (0, 0, 1))
    assert torch.equal(first.observed, again.observed)
    assert not torch.equal(first.observed, other.observed)


@pytest.mark.parametrize("name", ["poisson", "speckle"])
def test_a_black_image_has_no_noise_that_grows_with_brightness(name: str) -> None:
    with refused(ImageError, "noise.name", got=name, problem="black", allowed="gaussian, clipped"):
        observe(np.zeros((20, 20, 3), np.float32), beta_max=0.01, noise_seed=0, noise=name)


def test_an_unknown_noise_is_refused() -> None:
    with refused(ConfigError, "noise.name", got="pink", allowed="gaussian, clipped, poisson, speckle"):
        observe(an_image(), beta_max=0.01, noise_seed=0, noise="pink")


@pytest.mark.parametrize("channels", [1, 3])
def test_tensor_and_array_are_each_others_inverse(channels: int) -> None:
    image = an_image(channels=channels)
    tensor = to_tensor(image)
    assert tensor.shape == (1, channels, 40, 50)
    assert tensor[0, -1, 7, 9] == image[7, 9, -1]
    np.testing.assert_array_equal(to_array(tensor), image)

"""The classical competitors denoise any number of channels, and are what their packages compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bm3d as authors
import numpy as np
import pytest
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from dip_stages.denoisers import classical
from dip_stages.dip.observation import observe, to_array
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Denoiser = Callable[[NDArray[np.float32], float], NDArray[np.float32]]

SIGMA = 25 / 255

OURS: dict[str, Denoiser] = {
    "nlm": lambda image, sigma: classical.nlm(image, sigma, patch=5, distance=6, strength=0.8),
    "tv": lambda image, sigma: classical.tv(image, sigma, strength=0.7),
    "bm3d": classical.bm3d,
}


def noisy(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    clean = fit_to(read_image(bundled_path(name)), 48, "cover")
    return clean, to_array(observe(clean, beta_max=SIGMA**2, noise_seed=0).observed)


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("image", ["coffee", "camera"])
def test_noise_is_removed_from_colour_and_grey(method: str, image: str) -> None:
    clean, observed = noisy(image)
    result = OURS[method](observed, SIGMA)
    assert result.shape == clean.shape
    assert result.dtype == np.dtype(np.float32)
    before, after = (float(np.square(each - clean).mean()) for each in (observed, result))
    assert after < before / 2  # 3 dB


@pytest.mark.parametrize("method", OURS)
def test_a_higher_noise_level_gives_a_smoother_result(method: str) -> None:
    _, observed = noisy("coffee")
    less, more = (np.abs(np.diff(OURS[method](observed, sigma), axis=0)).mean() for sigma in (SIGMA / 2, 2 * SIGMA))
    assert more < less


def test_strengths_are_multiples_of_sigma() -> None:
    _, observed = noisy("coffee")
    np.testing.assert_array_equal(
        classical.nlm(observed, 0.1, patch=3, distance=4, strength=0.5),
        denoise_nl_means(observed, 3, 4, h=0.05, sigma=0.1, fast_mode=False, channel_axis=-1).astype(np.float32),
    )
    np.testing.assert_array_equal(
        classical.tv(observed, 0.1, strength=2),
        denoise_tv_chambolle(observed, weight=0.2, eps=1e-5, max_num_iter=400, channel_axis=-1).astype(np.float32),
    )


def test_bm3d_denoises_the_channels_of_colour_together() -> None:
    _, observed = noisy("coffee")
    together = classical.bm3d(observed, SIGMA)
    np.testing.assert_allclose(together, authors.bm3d_rgb(observed, SIGMA), atol=1e-5)
    np.testing.assert_array_equal(together, classical.bm3d(observed, SIGMA))  # the same bits each time
    assert np.abs(together[..., 0] - authors.bm3d(observed[..., 0], SIGMA)).mean() > 0.001  # not one by one

from __future__ import annotations

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dip_stages.dip.metrics import psnr, quality, ssim
from dip_stages.dip.observation import to_array, to_tensor
from dip_stages.images.reading import bundled_path, fit_to, read_image


@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee"])
@pytest.mark.parametrize("size", [16, 33, 96])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_psnr_and_ssim_equal_scikit_images(name: str, size: int, sigma: float) -> None:
    clean = to_tensor(fit_to(read_image(bundled_path(name)), size))
    image = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = to_array(image), to_array(clean)
    assert psnr(image, clean).item() == pytest.approx(peak_signal_noise_ratio(theirs, ours, data_range=1.0), abs=1e-3)
    expected = structural_similarity(
        theirs, ours, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(image, clean).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_are_not_square_are_measured_like_scikit_images(channels: int) -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = (torch.rand(1, channels, 17, 40, generator=draws) for _ in range(2))
    expected = structural_similarity(
        to_array(first), to_array(second), data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(first, second).item() == pytest.approx(expected, abs=1e-4)


def test_an_image_equals_itself() -> None:
    image = torch.rand(1, 3, 16, 20)
    same = quality(image, image)
    assert same.psnr == float("inf")
    assert same.ssim == pytest.approx(1)


def test_the_scale_is_fixed_and_not_taken_from_the_images() -> None:
    dim = torch.rand(1, 3, 20, 20) * 0.1
    assert psnr(dim + 0.1, dim).item() == pytest.approx(20, abs=1e-3)


def test_quality_is_both() -> None:
    first, second = torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20)
    both = quality(first, second)
    assert (both.psnr, both.ssim) == (psnr(first, second).item(), ssim(first, second).item())

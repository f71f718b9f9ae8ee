"""PSNR and SSIM, with the scale fixed at [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dip_stages.dip.world import peak_signal_noise_ratio, structural_similarity_index_measure

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Quality", "psnr", "quality", "ssim"]


_RADIUS = 5  # of the 11×11 window


@dataclass(frozen=True)
class Quality:
    """How close an image is to a reference: PSNR in dB, SSIM dimensionless."""

    psnr: float
    ssim: float


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, as a scalar tensor on the images' device.

    Args:
        image: ``(1, C, H, W)`` on the [0, 1] scale, not clipped here.
        reference: The same shape.

    Example:
        >>> psnr(torch.full((1, 3, 16, 16), 0.75), torch.full((1, 3, 16, 16), 0.25))
        tensor(6.0206)
    """
    return peak_signal_noise_ratio(image, reference, data_range=1.0)


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Return the structural similarity of Wang et al., 2004: 11×11 Gaussian window, sigma 1.5, mean over channels.

    As there, and in scikit-image, the mean is over windows that lie wholly inside the image; torchmetrics' own mean
    takes in reflected borders too, and differs by up to 0.03 on small noisy images.

    Args:
        image: ``(1, C, H, W)`` on the [0, 1] scale, H and W at least 11, not clipped here.
        reference: The same shape.

    Example:
        >>> ssim(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.5))
        tensor(1.)
    """
    _, similarity = structural_similarity_index_measure(image, reference, data_range=1.0, return_full_image=True)
    inside: Tensor = similarity[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return inside.mean()


def quality(image: Tensor, reference: Tensor) -> Quality:
    """Return PSNR and SSIM as Python numbers; waits for the device once."""
    values = torch.stack([psnr(image, reference), ssim(image, reference)]).tolist()
    return Quality(psnr=values[0], ssim=values[1])

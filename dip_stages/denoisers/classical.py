"""Classical denoisers, as competitors: non-local means, total variation and BM3D, each given the noise level.

The packages compute; this module sets their strengths in proportion to the noise level. The factors were chosen on
astronaut, chelsea and coffee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bm3d", "nlm", "tv"]


def nlm(image: NDArray[np.float32], sigma: float, *, patch: int, distance: int, strength: float) -> NDArray[np.float32]:
    """Return an image denoised by non-local means (Buades, Coll and Morel, 2005), by scikit-image.

    Args:
        image: ``(H, W, C)`` on the [0, 1] scale, not limited to it.
        sigma: Standard deviation of the noise, on that scale.
        patch: Side of the patches that are compared, in pixels.
        distance: Largest distance between two patches that are compared, in pixels.
        strength: The cut-off distance between patches, in multiples of sigma.

    Returns:
        The same shape, float32, not clipped.
    """
    from skimage.restoration import denoise_nl_means

    result: NDArray[np.float32] = denoise_nl_means(
        image,
        patch_size=patch,
        patch_distance=distance,
        h=strength * sigma,
        sigma=sigma,
        fast_mode=False,
        channel_axis=-1,
    )
    return result.astype(np.float32).reshape(image.shape)  # scikit-image drops a single channel


def tv(image: NDArray[np.float32], sigma: float, *, strength: float) -> NDArray[np.float32]:
    """Return an image denoised by total variation (Chambolle, 2004), by scikit-image.

    Args:
        image: ``(H, W, C)`` on the [0, 1] scale, not limited to it.
        sigma: Standard deviation of the noise, on that scale.
        strength: The weight of the total variation, in multiples of sigma.

    Returns:
        The same shape, float32, not clipped.
    """
    from skimage.restoration import denoise_tv_chambolle

    result: NDArray[np.float32] = denoise_tv_chambolle(
        image, weight=strength * sigma, eps=1e-5, max_num_iter=400, channel_axis=-1
    )
    return result.astype(np.float32)


def bm3d(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return an image denoised by BM3D, an RGB image by CBM3D (Dabov et al., 2007), by its authors' package.

    The package's licence allows only non-commercial use, so it is an extra: ``pip install dip_stages[bm3d]``.

    Args:
        image: ``(H, W, C)`` on the [0, 1] scale, not limited to it; of CMYK, each channel by itself.
        sigma: Standard deviation of the noise, on that scale.

    Returns:
        The same shape, float32, not clipped.
    """
    import bm3d as authors

    profile = authors.BM3DProfile()
    profile.num_threads = 1  # a cell of a sweep has one core, and the bits are the same each time
    if image.shape[-1] == 3:
        return np.asarray(authors.bm3d_rgb(image, sigma, profile), np.float32)
    channels = [authors.bm3d(channel, sigma, profile) for channel in np.moveaxis(image, -1, 0)]
    return np.asarray(np.stack(channels, axis=-1), np.float32)

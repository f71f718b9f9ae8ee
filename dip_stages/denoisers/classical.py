"""Classical denoisers, as competitors: non-local means, total variation and BM3D, each given the noise level.

The arithmetic is that of the packages; here their strengths are tied to the noise level, by factors that were chosen on
astronaut, chelsea and coffee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bm3d", "nlm", "tv"]


def nlm(image: NDArray[np.float32], sigma: float, *, patch: int, distance: int, strength: float) -> NDArray[np.float32]:
    """Return an image denoised by non-local means (Buades, Coll and Morel, 2005), as scikit-image computes them.

    Args:
        image: ``(H, W, C)``, 1.0 being white; it need not lie in [0, 1].
        sigma: Standard deviation of the noise, on that scale.
        patch: Pixels a side of the patches that are compared.
        distance: Pixels, at most, between two patches that are compared.
        strength: The cut-off distance between patches, in sigmas.
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
    return result.astype(np.float32).reshape(image.shape)  # of one channel it makes none


def tv(image: NDArray[np.float32], sigma: float, *, strength: float) -> NDArray[np.float32]:
    """Return an image denoised by total variation (Chambolle, 2004), as scikit-image computes it.

    Args:
        image: ``(H, W, C)``, 1.0 being white; it need not lie in [0, 1].
        sigma: Standard deviation of the noise, on that scale.
        strength: The weight of the total variation, in sigmas.
    """
    from skimage.restoration import denoise_tv_chambolle

    result: NDArray[np.float32] = denoise_tv_chambolle(
        image, weight=strength * sigma, eps=1e-5, max_num_iter=400, channel_axis=-1
    )
    return result.astype(np.float32)


def bm3d(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return an image denoised by BM3D, colour by CBM3D (Dabov et al., 2007), as its authors' package computes it.

    The package's licence allows non-commercial use alone, so it is an extra: ``pip install dip_stages[bm3d]``.

    Args:
        image: ``(H, W, C)`` with 1 or 3 channels, 1.0 being white; it need not lie in [0, 1].
        sigma: Standard deviation of the noise, on that scale.
    """
    import bm3d as authors

    profile = authors.BM3DProfile()
    profile.num_threads = 1  # a cell of a sweep has one core; and the same bits each time
    if image.shape[-1] == 1:
        return np.asarray(authors.bm3d(image[..., 0], sigma, profile), np.float32)[..., None]
    return np.asarray(authors.bm3d_rgb(image, sigma, profile), np.float32)

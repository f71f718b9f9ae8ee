from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dip_stages.dip.stopping.stage_gain import StageGain
from tests.rules import assert_kept, choice_of, images, views


def test_stage_gain_compares_psnr_and_ssim_of_successive_stages() -> None:
    target = images(1, seed=5)[0]
    outputs = torch.stack([target + error for error in (0.5, 0.2, 0.21, 0.1, 0.0999, 0.05)])
    seen = views(outputs, target, ends=[2, 4, 5, 6])
    metrics = [
        (
            peak_signal_noise_ratio(target[0].numpy(), outputs[end - 1][0].numpy(), data_range=1),
            structural_similarity(
                target[0].numpy(), outputs[end - 1][0].numpy(), data_range=1, channel_axis=0,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            ),
        )
        for end in (2, 4, 5, 6)
    ]  # fmt: skip
    gains = np.diff(metrics, axis=0)
    assert gains[1][0] < 0.05 < gains[0][0]
    choice = choice_of(StageGain(0.05, 0.001), seen)
    assert (choice.iteration, choice.spent, choice.decided) == (5, 5, True)
    assert_kept(choice, seen)
    patient = choice_of(StageGain(0.0, 0.0), seen)
    assert (patient.iteration, patient.decided) == (6, False)

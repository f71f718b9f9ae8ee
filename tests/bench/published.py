"""The published loop, written plainly from its paper's settings, for :mod:`tests.bench.speed` to compare with.

Ulyanov, Vedaldi and Lempitsky, 2018: float32, the default layout, eager; at each iteration the output and its average
are copied to the host and compared there with the noisy and the clean image; every hundred iterations the weights are
kept, or put back if the loss has jumped by 5 dB. It prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dip_stages.dip.archs.registry import seeded
from dip_stages.dip.noise import generator
from dip_stages.dip.observation import observe
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

JITTER, LR, AVERAGE, SHOWN_EVERY, JUMP = 1 / 30, 0.01, 0.99, 100, -5.0


def psnr(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return -10 * math.log10(float(np.mean((one - other) ** 2)))


def fit(*, size: int, width: int, iterations: int, seed: int, device: str) -> dict[str, Any]:
    """Fit a network as published, and return iterations per second and the output's PSNR at the end."""
    image = fit_to(read_image(bundled_path("rocket")), size, "cover")
    observation = observe(image, beta_max=0.01, noise_seed=0)
    clean, noisy = observation.clean[0].numpy(), observation.observed[0].numpy()
    target = observation.observed.to(device)
    network = seeded(
        "unet", generator(seed, 0), in_channels=32, out_channels=clean.shape[0], size=(size, size), width=width
    ).to(device)
    saved_input = (torch.rand(1, 32, size, size, generator=generator(seed, 1)) * 0.1).to(device)
    noise = saved_input.detach().clone()
    optimiser = torch.optim.Adam(network.parameters(), lr=LR)
    loss_of = torch.nn.MSELoss()
    average: torch.Tensor | None = None
    last, kept = 0.0, [parameter.detach().cpu() for parameter in network.parameters()]
    begun = time.perf_counter()
    for iteration in range(iterations):
        optimiser.zero_grad()
        output = network(saved_input + noise.normal_() * JITTER)
        average = output.detach() if average is None else average * AVERAGE + output.detach() * (1 - AVERAGE)
        loss_of(output, target).backward()
        shown = output.detach().cpu().numpy()[0]
        of_noisy, of_clean = psnr(noisy, shown), psnr(clean, shown)
        psnr(clean, average.cpu().numpy()[0])
        if iteration % SHOWN_EVERY == 0:
            if of_noisy - last < JUMP:
                for parameter, good in zip(network.parameters(), kept, strict=True):
                    parameter.data.copy_(good)
            else:
                kept, last = [parameter.detach().cpu() for parameter in network.parameters()], of_noisy
        optimiser.step()
    return {"rate": iterations / (time.perf_counter() - begun), "psnr": of_clean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("size", "width", "iterations", "seed", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    print(json.dumps(fit(**given)))


if __name__ == "__main__":
    main()

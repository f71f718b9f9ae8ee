"""The published loop, written from its paper's settings, which :mod:`tests.bench.speed` compares ours with.

Ulyanov, Vedaldi and Lempitsky, 2018: float32, the default layout, eager. At each iteration the output and its average
are copied to the host and compared there with the noisy and the clean image. Every hundred iterations the weights are
saved, or restored if the PSNR against the noisy image has fallen by 5 dB. The results are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dip_stages.dip.archs.registry import ARCHS, seeded
from dip_stages.dip.noise import FitStream, generator
from dip_stages.dip.observation import observe
from dip_stages.images.reading import bundled_path, fit_to, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

JITTER, LR, AVERAGE, CHECK_EVERY, FALL = 1 / 30, 0.01, 0.99, 100, -5.0


def psnr(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return -10 * math.log10(float(np.mean((one - other) ** 2)))


def fit(*, size: int, width: int, iterations: int, seed: int, device: str) -> dict[str, Any]:
    """Fit a network as published, and return iterations a second and the PSNR of the last output in dB."""
    image = fit_to(read_image(bundled_path("rocket")), size, "cover")
    observation = observe(image, beta_max=0.01, noise_seed=0)
    clean, noisy = observation.clean[0].numpy(), observation.observed[0].numpy()
    target = observation.observed.to(device)
    network = seeded(
        ARCHS["unet"],
        generator(seed, FitStream.NETWORK),
        in_channels=32,
        out_channels=clean.shape[0],
        size=(size, size),
        width=width,
    ).to(device)
    saved_input = (torch.rand(1, 32, size, size, generator=generator(seed, FitStream.INPUT)) * 0.1).to(device)
    noise = saved_input.detach().clone()
    optimiser = torch.optim.Adam(network.parameters(), lr=LR)
    loss_of = torch.nn.MSELoss()
    average: torch.Tensor | None = None
    last, saved = 0.0, [parameter.detach().cpu() for parameter in network.parameters()]
    begun = time.perf_counter()
    for iteration in range(iterations):
        optimiser.zero_grad()
        output = network(saved_input + noise.normal_() * JITTER)
        average = output.detach() if average is None else average * AVERAGE + output.detach() * (1 - AVERAGE)
        loss_of(output, target).backward()
        on_host = output.detach().cpu().numpy()[0]
        of_noisy, of_clean = psnr(noisy, on_host), psnr(clean, on_host)
        psnr(clean, average.cpu().numpy()[0])
        if iteration % CHECK_EVERY == 0:
            if of_noisy - last < FALL:
                for parameter, good in zip(network.parameters(), saved, strict=True):
                    parameter.data.copy_(good)
            else:
                saved, last = [parameter.detach().cpu() for parameter in network.parameters()], of_noisy
        optimiser.step()
    return {"rate": iterations / (time.perf_counter() - begun), "psnr": of_clean}


def main() -> None:
    """Fit with the settings on the command line, and print rate and PSNR."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("size", "width", "iterations", "seed", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    print(json.dumps(fit(**given)))


if __name__ == "__main__":
    main()

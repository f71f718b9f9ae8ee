"""A network and a stopping rule of one's own, beside those of the package.

Run it in this folder, where the classes below are found by their name: ``python own_network_and_rule.py``.
"""

from __future__ import annotations

import torch
from torch import nn

import dip_stages
from dip_stages.dip.stopping.base import Lowest, View


class Decoder(nn.Module):
    """A decoder alone, without skips (ConvDecoder, Darestani and Heckel, 2021): convolutions and upsampling.

    Args:
        in_channels: Of the network's input.
        out_channels: Of the image.
        size: Height and width of the image.
        width: Channels of each layer.
        doublings: How often the size is doubled.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], width: int = 32, doublings: int = 2
    ) -> None:
        super().__init__()
        sizes = [(size[0] >> left, size[1] >> left) for left in range(doublings, -1, -1)]
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(sizes[0])]
        for channels, larger in zip([in_channels, *[width] * doublings], sizes, strict=True):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.Upsample(larger, mode="bilinear"),
                nn.ReLU(),
                nn.BatchNorm2d(width),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, out_channels, 1), nn.Sigmoid())

    def forward(self, net_input: torch.Tensor) -> torch.Tensor:
        """Return the image ``(1, out_channels, H, W)`` of an input ``(1, in_channels, H, W)``."""
        image: torch.Tensor = self.layers(net_input)
        return image


class Whiteness(Lowest):
    r"""Stop where neighbouring residuals are least correlated: the noise of neighbouring pixels is independent.

    .. math:: |\mathrm{mean}\,(r_{i,j}\, r_{i,j+1})| / \mathrm{mean}\,r^2, \quad r = y - f_t

    Args:
        observed: y, ``(1, C, H, W)``.
        patience: Iterations >= 1 without a lower value.
    """

    def __init__(self, observed: torch.Tensor, patience: int = 100) -> None:
        super().__init__(patience)
        self.observed = observed

    def _update(self, view: View) -> None:
        residual = self.observed.to(view.average.device) - view.average
        neighbours = (residual[..., 1:] * residual[..., :-1]).mean()
        self._compare(view, neighbours.abs() / residual.square().mean())
        self._check_patience()


OWN = {
    "unet, its own rule": ["arch.width=16"],
    "decoder": ["arch=custom", "arch._target_=own_network_and_rule.Decoder"],
    "unet, whiteness": ["arch.width=16", "stopping=custom", "stopping._target_=own_network_and_rule.Whiteness"],
}


def main() -> None:
    """Compare them on one image; the PSNR needs the clean image, and no choice here used it."""
    common = ["method=baseline", "data.name=coffee", "data.size=64", "trainer.iterations=800", "logger=none"]
    for name, overrides in OWN.items():
        record = dip_stages.run_cell([*common, *overrides])
        assert record.metrics is not None, record.error
        result = record.metrics["result"]
        print(f"{name:20} stopped at {result['iteration']:4}: {result['psnr']:.2f} dB")


if __name__ == "__main__":
    main()

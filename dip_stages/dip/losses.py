"""Named losses: each compares an output with a stage's target, both ``(1, C, H, W)`` on the [0, 1] scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dip_stages.dip.noise import generator

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["Loss", "MSELoss", "PerceptualLoss", "VGG16Features", "as_loss", "vgg16_state"]

_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512)
_TAPS = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3 in torchvision's numbering


class Loss(nn.Module):
    """A loss whose target is set once a stage, so that what depends on the target alone is computed once."""

    target: Tensor

    def set_target(self, target: Tensor, reference: Tensor) -> None:
        """Set the target of a stage.

        Args:
            target: What the output is fitted to, ``(1, C, H, W)``.
            reference: What a perceptual loss compares with, the same shape; the target unless ``loss.reference=clean``.
        """
        del reference
        self.target = target

    def forward(self, output: Tensor) -> Tensor:
        """Return the scalar loss of ``output``."""
        raise NotImplementedError


class MSELoss(Loss):
    """The mean squared error, the loss of Ulyanov et al., 2018."""

    def forward(self, output: Tensor) -> Tensor:
        """Return mean (output - target)²."""
        return F.mse_loss(output, self.target)


class _Compared(Loss):
    """A module of torch that compares an output with a target, such as :class:`torch.nn.L1Loss`."""

    def __init__(self, compare: nn.Module) -> None:
        super().__init__()
        self.compare = compare

    def forward(self, output: Tensor) -> Tensor:
        """Return its value."""
        value: Tensor = self.compare(output, self.target)
        return value


def as_loss(module: nn.Module) -> Loss:
    """Return a loss as it is, and any other module as the loss ``module(output, target)``."""
    return module if isinstance(module, Loss) else _Compared(module)


class PerceptualLoss(Loss):
    r"""MSE plus a feature distance: :math:`\mathrm{MSE} + \frac{w}{4} \sum_l \mathrm{mean}(\phi_l(f) - \phi_l(t))^2`.

    Johnson et al., 2016 (arXiv 1603.08155), with VGG16 after relu1_2, relu2_2, relu3_3 and relu4_3.

    Args:
        features: The frozen feature network.
        weight: w, >= 0; the course report has 0.1.
    """

    reference_features: list[Tensor]

    def __init__(self, features: VGG16Features, weight: float) -> None:
        super().__init__()
        self.features = features
        self.weight = weight

    def set_target(self, target: Tensor, reference: Tensor) -> None:
        """Set the target, and compute the reference's features once for the stage."""
        super().set_target(target, reference)
        with torch.no_grad():
            self.reference_features = self.features(reference)

    def forward(self, output: Tensor) -> Tensor:
        """Return the MSE plus the weighted feature distance."""
        distances = [
            F.mse_loss(ours.float(), theirs.float())
            for ours, theirs in zip(self.features(output), self.reference_features, strict=True)
        ]
        return F.mse_loss(output, self.target) + self.weight * torch.stack(distances).mean()


class VGG16Features(nn.Module):
    """The first ten convolutions of VGG16 (Simonyan and Zisserman, 2015), frozen, with torchvision's key names.

    Input ``(1, C, H, W)`` with C 1 or 3, clamped to [0, 1] and normalised with ImageNet's mean and deviation, not
    resized. Output: four feature maps.

    Args:
        state: torchvision's state (see :func:`vgg16_state`), or ``None`` for random weights: Liu et al., CVPR 2021
            (arXiv 2103.10571) show that the architecture alone serves as a perceptual loss. He's
            initialisation draws them, which keeps the scale of the gradient through the ReLUs.
        seed: Seed of the random weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: dict[str, Tensor] | None = None, *, seed: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1, device="meta"), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[: _TAPS[-1] + 1]).to_empty(device="cpu")
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        if state is None:
            self._initialise(seed)
        else:
            self.load_state_dict(state)
        self.requires_grad_(requires_grad=False)

    def _initialise(self, seed: int) -> None:
        draws = generator(seed)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=draws)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the four feature maps of ``x``."""
        x = (x.clamp(0, 1) - self.mean) / self.std
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return taps


def vgg16_state(file: Path) -> dict[str, Tensor]:
    """Return the part of torchvision's VGG16 state that :class:`VGG16Features` needs.

    Args:
        file: From :func:`dip_stages.dip.vgg16_weights.published_vgg16`, which checks it.
    """
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    wanted = VGG16Features().state_dict()
    return {key: state[key] for key in wanted}

"""Settings of the networks: the group ``arch``."""

from __future__ import annotations

from dataclasses import dataclass

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.config.own_axes import OwnArch

__all__ = ["ArchConfig", "DnCNNConfig", "ResNetConfig", "UNetConfig"]


@dataclass(frozen=True)
class UNetConfig(Section, section="arch"):
    """See :class:`dip_stages.dip.archs.unet.UNet`."""

    name: str = "unet"
    width: int = bounded(64, at_least=1)
    scales: int = bounded(5, at_least=1, at_most=10)
    skip_channels: int = bounded(4, at_least=0)
    padding_mode: str = choice("reflect", ("reflect", "zeros"))
    upsampling: str = choice("bilinear", ("bilinear", "nearest"))


@dataclass(frozen=True)
class DnCNNConfig(Section, section="arch"):
    """See :class:`dip_stages.dip.archs.dncnn.DnCNN`."""

    name: str = "dncnn"
    width: int = bounded(64, at_least=1)
    depth: int = bounded(17, at_least=3)


@dataclass(frozen=True)
class ResNetConfig(Section, section="arch"):
    """See :class:`dip_stages.dip.archs.resnet.ResNet`."""

    name: str = "resnet"
    width: int = bounded(64, at_least=1)
    blocks: int = bounded(8, at_least=1)


ArchConfig = UNetConfig | DnCNNConfig | ResNetConfig | OwnArch

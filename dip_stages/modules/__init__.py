"""The LightningModules: :class:`BaselineDIP` and :class:`StagedDIP` over one base, driven in chunks of iterations."""

from dip_stages.modules.dip import BaselineDIP, DIPModule, StagedDIP
from dip_stages.modules.settings import FitSettings

__all__ = ["BaselineDIP", "DIPModule", "FitSettings", "StagedDIP"]

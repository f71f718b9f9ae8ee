"""The LightningModules: baseline, staged and aSeqDIP over one base, driven in chunks of iterations."""

from dip_stages.modules.dip import AseqDIP, BaselineDIP, DIPModule, StagedDIP
from dip_stages.modules.settings import FitSettings

__all__ = ["AseqDIP", "BaselineDIP", "DIPModule", "FitSettings", "StagedDIP"]

"""Lightning and torchmetrics, imported as rank 0 of a world of one process; all other modules import them from here.

A cell is one process. Slurm, MPI and torchrun name a rank in the environment of whatever they start, and both packages
read it when they are imported: a cell of rank 1 would log nothing, and one whose ``RANK`` is no number would not start.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LightningEnvironment",
    "SIGTERMException",
    "peak_signal_noise_ratio",
    "pl",
    "structural_similarity_index_measure",
]

_READ_AT_IMPORT = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@contextmanager
def _without_rank() -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in _READ_AT_IMPORT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


with _without_rank():
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning.utilities.exceptions import SIGTERMException
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

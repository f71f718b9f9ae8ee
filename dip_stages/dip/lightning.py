"""Lightning's trainer as this project uses it: it prints nothing, and reads nothing from the environment."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.dip.world import LightningEnvironment, pl
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytorch_lightning.loggers import Logger

    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stages import Chunks

__all__ = ["OwnWorld", "fit", "fitting", "own_stream", "trainer_of"]


class _CellTrainer(pl.Trainer):
    """A trainer of a name of its own: Lightning takes what ``Trainer`` is not given from ``PL_TRAINER_…``."""


class OwnWorld(LightningEnvironment):
    """One process, whatever the environment says of ranks and worlds; Lightning's own reads it."""

    creates_processes_externally = False

    def __init__(self) -> None:
        super().__init__()
        self.set_global_rank(0)  # of the process: loggers and warnings of every other rank are silent

    def local_rank(self) -> int:
        """Return 0, whatever ``LOCAL_RANK`` is."""
        return 0

    def node_rank(self) -> int:
        """Return 0, whatever ``NODE_RANK`` is."""
        return 0

    def teardown(self) -> None:
        """Leave ``WORLD_SIZE`` to whoever set it."""


def trainer_of(accelerator: str, *, logger: Logger | bool, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Return Lightning's trainer for one fit; it prints and saves nothing by itself.

    Args:
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        logger: Lightning's, or ``False``.
        callbacks: In the order in which they are called.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return _CellTrainer(
        accelerator={"cuda": "gpu"}.get(accelerator, accelerator),
        devices=1,
        max_epochs=1,
        logger=logger,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=os.devnull,  # no folder: under srun, Lightning resumes from any checkpoint of its own in it
        plugins=[OwnWorld()],
    )


@contextmanager
def fitting() -> Iterator[None]:
    """Raise an interruption from the keyboard as Interrupted: Lightning exits, and ignores the signal from then on.

    Raises:
        Interrupted: If the fit inside was interrupted from the keyboard.
    """
    with warnings.catch_warnings(), _interruptible():
        # Lightning's own `fit` uses an old name of torch's pytree helper.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        # Where Slurm is installed, Lightning recommends to use it.
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        yield


def fit(trainer: pl.Trainer, module: DIPModule, chunks: Chunks, accelerator: str) -> None:
    """Fit a module, then release all memory of a GPU that is not the module's own.

    Args:
        trainer: From :func:`trainer_of`.
        module: To fit.
        chunks: Of the module's plan.
        accelerator: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        Interrupted: If it was asked to stop, or interrupted from the keyboard.
        DivergenceError: If the loss jumps more often in a row than the settings allow.
    """
    try:
        with fitting(), own_stream(accelerator):
            trainer.fit(module, chunks)
    finally:
        module.release()
        if accelerator == "cuda":
            gc.collect()  # Lightning's trainer and module refer to each other


@contextmanager
def own_stream(accelerator: str) -> Iterator[None]:
    """Run on a CUDA stream of its own, which a capture needs, as do fits at the same time; elsewhere, do nothing."""
    if accelerator != "cuda":
        yield
        return
    # torch has 32 streams and hands them out in turn: use a free one before asking for another; further fits wait.
    with _STREAMS:
        try:
            stream = _FREE.pop()
        except IndexError:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        before = torch.cuda.current_stream()
        stream.wait_stream(before)
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            before.wait_stream(stream)
            _FREE.append(stream)


_FREE: list[Any] = []
_STREAMS = threading.BoundedSemaphore(32)


@contextmanager
def _interruptible() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as left:
        if not isinstance(left.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        raise Interrupted("interrupted from the keyboard") from left.__context__

"""Trains the model of ``method=ddpm``: ``dip-stages-train``.

A cell that needs a model trains it itself; this command trains it in advance, and draws samples from it.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.train"))

import argparse
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.clock import Every
from dip_stages.console import program
from dip_stages.errors import ConfigError, DipStagesError, Interrupted
from dip_stages.images.folders import notes
from dip_stages.names import printable
from dip_stages.sweep.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dip_stages.config import DDPMConfig
    from dip_stages.config.runtime import RuntimeConfig

__all__ = ["main"]

_SHEET = "samples.png"

_SAMPLES, _SAMPLES_SEED = 16, 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model of a configuration, unless it is trained already, and draw samples from it."""
    parser = argparse.ArgumentParser(
        prog=program("dip_stages.train"),
        description="Train the model that method=ddpm asks for, if it is not there yet, and draw samples from it.",
        epilog=f"Settings as with {program()}, such as method.training.iterations=500. The model is for "
        "images with as many channels as that of data: data.name=camera for grey ones.",
    )
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        _train_and_draw(given.settings)
    except (DipStagesError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


def _checked(overrides: Sequence[str]) -> tuple[DDPMConfig, RuntimeConfig, int, Path]:
    """Return method, runtime, channels and the folder of models, checked: neither torch nor diffusers is imported."""
    from dip_stages.cells.identity import image_shape
    from dip_stages.cells.machine import check_machine
    from dip_stages.config import DDPMConfig, check_extras, parse
    from dip_stages.config.compose import compose_apart
    from dip_stages.denoisers.model_store import check_model, check_training, models_folder, training_settings

    composed = compose_apart(["method=ddpm", *overrides])
    config = parse(composed)
    if not isinstance(config.method, DDPMConfig):
        raise ConfigError(setting="method", got=config.method.name, allowed="ddpm, which alone is trained")
    check_extras(config)
    channels = image_shape(config.data)[2]
    check_training(config.method.training)
    sys.stderr.writelines(f"{note}\n" for note in notes(config.folders))
    if config.method.model is not None:
        check_model(Path(config.method.model).expanduser(), training_settings(config.method.training, channels))
    check_machine(config.runtime.accelerator)
    return config.method, config.runtime, channels, models_folder(Path(str(composed.outputs)))


def _train_and_draw(overrides: Sequence[str]) -> None:
    method, runtime, channels, models = _checked(overrides)
    import torch

    from dip_stages.cells.hardware import build_accelerator
    from dip_stages.denoisers.ddpm_training import trained
    from dip_stages.dip.noise import generator
    from dip_stages.plotting import plot_samples

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    with Interrupts("the training writes a checkpoint and stops") as interrupts, _resumable(interrupts):
        progress = _Progress(interrupts.should_stop)
        model, folder = trained(
            method,
            channels,
            models,
            accelerator=build_accelerator(runtime.accelerator),
            checkpoint_every=runtime.checkpoint_every,
            should_stop=interrupts.should_stop,
            on_progress=progress.training,
        )
        if not (folder / _SHEET).exists():
            drawn = model.sample(_SAMPLES, generator(_SAMPLES_SEED), progress.sampling)
            images = drawn.permute(0, 2, 3, 1).cpu().numpy()
            plot_samples(folder / _SHEET, images, title=f"{_SAMPLES} samples of {folder.name}")
    sys.stdout.write(f"{printable(folder)}\n")


@contextmanager
def _resumable(interrupts: Interrupts) -> Iterator[None]:
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        interrupts.leave("interrupted", "dip_stages.train")


class _Progress:
    """Prints how far training and sampling are, every ten seconds."""

    def __init__(self, should_stop: Callable[[], bool], every: float = 10.0) -> None:
        self._should_stop, self._print = should_stop, Every(every)

    def training(self, iteration: int, iterations: int, loss: float) -> None:
        self._write(f"iteration {iteration} of {iterations}, loss {loss:.4f}")

    def sampling(self, step: int, steps: int) -> None:
        if self._should_stop():
            raise Interrupted("asked to stop")
        self._write(f"samples: step {step} of {steps}")

    def _write(self, text: str) -> None:
        if self._print.due():
            sys.stderr.write(f"{text}\n")

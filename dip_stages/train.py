"""Trains the model of ``method=ddpm``: ``python -m dip_stages.train``.

A cell that needs a model trains it by itself; this command does so beforehand, and draws samples from it.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.errors import ConfigError, DipStagesError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SHEET", "main"]

SHEET = "samples.png"

_SAMPLES, _SAMPLES_SEED = 16, 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model of a configuration, if it is not there yet, and draw samples from it."""
    parser = argparse.ArgumentParser(
        prog="python -m dip_stages.train",
        description="Train the model that method=ddpm asks for, if it is not there yet, and draw samples from it.",
        epilog="Settings as with python -m dip_stages, such as method.training.iterations=500. The model is for "
        "images with as many channels as that of data: data.name=camera for grey ones.",
    )
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        _train_and_draw(given.settings)
    except (Interrupted, KeyboardInterrupt):
        sys.stderr.write("interrupted; the same command goes on\n")
        sys.exit(130)
    except (DipStagesError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


def _train_and_draw(overrides: Sequence[str]) -> None:
    from dip_stages.cells.identity import image_shape
    from dip_stages.config import DDPMConfig, check_extras, parse
    from dip_stages.config.overrides import compose_apart
    from dip_stages.denoisers.model_store import check_model, check_training, models_folder, training_settings

    composed = compose_apart(["method=ddpm", *overrides])
    config = parse(composed)
    if not isinstance(config.method, DDPMConfig):
        raise ConfigError(setting="method", got=config.method.name, allowed="ddpm, which alone is trained")
    check_extras(config)
    channels = image_shape(config.data)[2]
    check_training(config.method.training)
    if config.method.model is not None:
        check_model(Path(config.method.model).expanduser(), training_settings(config.method.training, channels))
    # Nothing above took the time that torch and diffusers take.
    import torch

    from dip_stages.cells.hardware import build_accelerator
    from dip_stages.denoisers.ddpm_training import trained
    from dip_stages.dip.noise import generator
    from dip_stages.plotting import plot_samples

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    told = _Told()
    model, folder = trained(
        config.method,
        channels,
        models_folder(Path(str(composed.outputs))),
        accelerator=build_accelerator(config.runtime.accelerator),
        checkpoint_every=config.runtime.checkpoint_every,
        should_stop=told.stopped,
        on_progress=told.training,
    )
    if not (folder / SHEET).exists():
        drawn = model.sample(_SAMPLES, generator(_SAMPLES_SEED), told.sampling)
        images = drawn.permute(0, 2, 3, 1).cpu().numpy()
        plot_samples(folder / SHEET, images, title=f"{_SAMPLES} samples of {folder.name}")
    sys.stdout.write(f"{folder}\n")


class _Told:
    """Says how far it is, every ten seconds, and hears when it is to stop."""

    def __init__(self, every: float = 10.0) -> None:
        self._every, self._last, self._asked = every, time.monotonic(), False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _: object) -> None:
        if self._asked:
            sys.exit(128 + number)
        self._asked = True

    def stopped(self) -> bool:
        return self._asked

    def training(self, iteration: int, iterations: int, loss: float) -> None:
        self._say(f"iteration {iteration} of {iterations}, loss {loss:.4f}")

    def sampling(self, step: int, steps: int) -> None:
        if self._asked:
            raise Interrupted("asked to stop")
        self._say(f"samples: step {step} of {steps}")

    def _say(self, text: str) -> None:
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()

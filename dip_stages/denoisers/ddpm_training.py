"""Trains a DDPM, once, and finds it again.

A model lies in ``outputs/models``, in a folder named after what it was trained on and how. The first cell that needs it
trains it, the others wait; a training that was broken off goes on from its last checkpoint, to the same weights.
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_stages.denoisers.model_store import (
    MODEL,
    TRAINED,
    check_model,
    model_folder,
    training_images,
    training_settings,
)
from dip_stages.dip.lightning import fitting, trainer_of
from dip_stages.dip.observation import to_tensor
from dip_stages.errors import CheckpointError, Interrupted, LeaseError, ModelError
from dip_stages.images.reading import fit_to, read_image, sha256
from dip_stages.plotting import plot_losses
from dip_stages.store.checkpoints import made_with, read_state, write_state, write_tensors
from dip_stages.store.fingerprint import check_code, fingerprint
from dip_stages.store.leases import Lease
from dip_stages.store.records import set_aside, write_csv, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from dip_stages.config import DDPMConfig, TrainingConfig
    from dip_stages.denoisers.ddpm import DDPM

__all__ = ["STATE", "trained"]

STATE = "training.pt"
"""The state of an unfinished training."""

_TELL_EVERY = 0.5
"""Seconds."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""

log = logging.getLogger(__name__)


def trained(
    method: DDPMConfig,
    channels: int,
    models: Path,
    *,
    accelerator: str,
    every: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int, float], None] = lambda _iteration, _iterations, _loss: None,
) -> tuple[DDPM, Path]:
    """Return the model that a method asks for, and its folder; trained first, if it is not there yet.

    Args:
        method: Says which.
        channels: Of the images that it is for.
        models: Where models are kept.
        accelerator: What it runs on.
        every: Seconds between two checkpoints of the training; None for none but at an interruption.
        should_stop: Asked now and then whether to stop.
        tell: Called now and then with iteration, iterations in all, and loss.

    Raises:
        ConfigError: If there are too few images to learn from.
        Interrupted: If it was asked to stop; an unfinished training has left a checkpoint.
        ModelError: If what is there is another model, or cannot be read, or the training diverges.
        ImageError: If an image to learn from cannot be used.
    """
    settings = training_settings(method.training, channels)
    folder = Path(method.model).expanduser() if method.model is not None else model_folder(models, settings)
    while method.model is None and not (folder / MODEL).exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with Lease(folder) as lease:
                if not (folder / MODEL).exists():
                    training = _Training(method.training, settings, folder, accelerator, lease)
                    training.run(every, should_stop, tell)
        except LeaseError:  # another cell trains it
            if should_stop():
                raise Interrupted("asked to stop while another process trains the model") from None
            time.sleep(1.0)
    check_model(folder, settings)
    return _loaded(folder, method.training, channels, accelerator), folder


def _loaded(folder: Path, training: TrainingConfig, channels: int, accelerator: str) -> DDPM:
    """Return a trained model on its device.

    Raises:
        ModelError: If its weights are not those that the training left.
    """
    wanted = json.loads((folder / MODEL).read_text(encoding="utf-8")).get("sha256")
    if sha256(folder / TRAINED) != wanted:
        raise ModelError(
            "altered since it was trained", setting=folder / TRAINED, allowed=f"remove {folder} to train it again"
        )
    model = _ddpm(training, channels)
    weights = torch.load(folder / TRAINED, map_location="cpu", weights_only=True)
    model.averaged.module.load_state_dict(weights)
    return model.to(accelerator).eval()


def _ddpm(training: TrainingConfig, channels: int, images: Sequence[Tensor] = ()) -> DDPM:
    from dip_stages.denoisers.ddpm import DDPM, DDPMSettings  # diffusers, which takes seconds to import

    check_code()
    own = DDPMSettings.__dataclass_fields__.keys() & vars(training).keys()
    return DDPM(DDPMSettings(channels=channels, **{key: getattr(training, key) for key in own}), images)


def _images(training: TrainingConfig, channels: int) -> list[Tensor]:
    """Return what is learnt from: each image in each size, ``(C, H, W)``, in the number of channels wanted."""
    found = []
    for path in training_images(training):
        image = read_image(path)
        if channels == 1 and image.shape[2] == 3:
            image = (image @ np.array(_LUMA, np.float32))[..., None]
        for size in training.sizes:
            fitted = to_tensor(np.ascontiguousarray(fit_to(image, size, "cover")))[0]
            found.append(fitted.expand(channels, -1, -1))
    return found


class _Training:
    """One attempt at a training, of the process that has the lease on its folder."""

    def __init__(
        self, training: TrainingConfig, settings: dict[str, Any], folder: Path, accelerator: str, lease: Lease
    ) -> None:
        self.training, self.settings, self.folder, self.accelerator = training, settings, folder, accelerator
        self.lease = lease
        self.model = _ddpm(training, settings["channels"], _images(training, settings["channels"]))
        self.made_with: list[dict[str, Any]] = []
        self._before = 0.0
        self._go_on()
        self.made_with.append(made_with(fingerprint(), accelerator, bfloat16=False))
        self._began = self._last = self._told = time.monotonic()

    def run(
        self, every: float | None, should_stop: Callable[[], bool], tell: Callable[[int, int, float], None]
    ) -> None:
        """Train to the end and leave the model in its folder.

        Raises:
            Interrupted: If it was asked to stop; it has left a checkpoint.
            ModelError: If it diverged.
        """

        def after_each() -> None:
            now, done = time.monotonic(), self.model.iteration
            if now - self._told >= _TELL_EVERY or done == self.training.iterations:
                self._told = now
                loss = float(self.model.losses[-1])
                if not math.isfinite(loss):
                    raise ModelError(
                        f"the training of {self.folder.name} diverged at iteration {done} or shortly before",
                        allowed="a smaller method.training.lr",
                    )
                tell(done, self.training.iterations, loss)
            if every is not None and now - self._last >= every:
                self.save()

        self.model.should_stop, self.model.on_iteration = should_stop, after_each
        left = range(self.model.iteration, self.training.iterations)
        try:
            with fitting():
                trainer_of(self.accelerator, logger=False, callbacks=[]).fit(self.model, left)
        except SIGTERMException as error:  # Lightning's own ear, which it lends between two iterations
            self.save()
            raise Interrupted("the training was asked to stop by SIGTERM") from error
        except (Interrupted, KeyboardInterrupt):
            self.save()
            raise
        self.lease.check()
        self._finish()

    def save(self) -> None:
        """Leave a checkpoint; while an iteration is half done, or where it cannot be written, the last one stands."""
        state = self.model.saved()
        if state is None:
            return
        try:
            self.lease.check()
            known = {"made_with": self.made_with, "seconds": self._seconds(), "model": state}
            write_state(self.folder / STATE, known)
        except OSError as error:
            log.warning("%s: no checkpoint could be written: %s", self.folder, error)
        self._last = time.monotonic()

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _go_on(self) -> None:
        """Go on from a checkpoint, if there is one that can be trusted."""
        path = self.folder / STATE
        try:
            state = read_state(path)
            self.model.resume(state["model"])
            self.made_with, self._before = state["made_with"], float(state["seconds"])
        except FileNotFoundError:
            return
        except CheckpointError as error:
            log.warning("%s; set aside as %s, the training begins anew", error, set_aside(path).name)

    def _finish(self) -> None:
        losses = torch.stack(self.model.losses).tolist()
        write_tensors(self.folder / TRAINED, self.model.averaged.module.state_dict())
        write_csv(
            self.folder / "losses.csv",
            ("iteration", "loss"),
            [{"iteration": number, "loss": loss} for number, loss in enumerate(losses, 1)],
        )
        plot_losses(self.folder / "loss.png", losses, title=self.folder.name)
        known = {
            "settings": self.settings,
            "training": vars(self.training),
            "made_with": self.made_with,
            "seconds": round(self._seconds(), 1),
            "sha256": sha256(self.folder / TRAINED),
        }
        write_json(self.folder / MODEL, known)  # last: from here on it is a model
        (self.folder / STATE).unlink(missing_ok=True)

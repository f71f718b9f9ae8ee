"""Trains a DDPM, once, and loads it again.

A model is in ``outputs/models``, in a folder named after what it was trained on and how. The first cell that needs it
trains it, the others wait. An interrupted training resumes from its last checkpoint, to the same weights.
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

from dip_stages.clock import Every
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
from dip_stages.dip.world import SIGTERMException
from dip_stages.errors import CheckpointError, Interrupted, LeaseError, ModelError
from dip_stages.images.reading import fit_to, read_image
from dip_stages.names import printable
from dip_stages.plotting import plot_losses
from dip_stages.store.checkpoints import made_with, read_state, write_state, write_tensors
from dip_stages.store.files import set_aside
from dip_stages.store.fingerprint import check_code, fingerprint
from dip_stages.store.hashing import file_sha256
from dip_stages.store.json_files import write_json
from dip_stages.store.leases import Lease
from dip_stages.store.records import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from dip_stages.config import DDPMConfig, TrainingConfig
    from dip_stages.denoisers.ddpm import DDPM

__all__ = ["STATE", "trained"]

STATE = "training.pt"
"""The state of an unfinished training."""

_REPORT_EVERY, _LEASE_EVERY = 0.5, 1.0
"""Seconds between two reports of progress, and between two attempts to get the lease."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601)."""

log = logging.getLogger(__name__)


def trained(
    method: DDPMConfig,
    channels: int,
    models: Path,
    *,
    accelerator: str,
    checkpoint_every: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int, float], None] = lambda _iteration, _iterations, _loss: None,
) -> tuple[DDPM, Path]:
    """Return the model that a method needs, and its folder; the model is trained if it is not there yet.

    Args:
        method: Names the model, or says how to train it.
        channels: Of the images that it is for.
        models: Folder of trained models.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        checkpoint_every: Seconds between two checkpoints of the training; None for only one, at an interruption.
        should_stop: Called now and then; whether to stop.
        on_progress: Called now and then with iteration, iterations in all, and loss.

    Raises:
        ConfigError: If there are too few images to learn from.
        Interrupted: If it was asked to stop; an unfinished training has left a checkpoint.
        ModelError: If the folder holds another model or none that can be read, or the training diverges.
        ImageError: If an image to learn from cannot be used.
    """
    settings = training_settings(method.training, channels)
    if method.model is not None:
        folder = Path(method.model).expanduser()
    else:
        folder = model_folder(models, settings)
        while not (folder / MODEL).exists():
            _train(method.training, settings, folder, accelerator, checkpoint_every, should_stop, on_progress)
    check_model(folder, settings)
    return _loaded(folder, method.training, channels, accelerator), folder


def _train(
    training: TrainingConfig,
    settings: dict[str, Any],
    folder: Path,
    accelerator: str,
    checkpoint_every: float | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int, int, float], None],
) -> None:
    """Train a model, or wait a moment for the process that trains it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Lease(folder) as lease:
            if not (folder / MODEL).exists():
                attempt = _Training(training, settings, folder, accelerator, lease)
                attempt.run(checkpoint_every, should_stop, on_progress)
    except LeaseError:
        if should_stop():
            raise Interrupted("asked to stop while another process trains the model") from None
        time.sleep(_LEASE_EVERY)


def _loaded(folder: Path, training: TrainingConfig, channels: int, accelerator: str) -> DDPM:
    """Return a trained model on its device.

    Raises:
        ModelError: If its weights are not those that the training wrote.
    """
    wanted = json.loads((folder / MODEL).read_text(encoding="utf-8")).get("sha256")
    if file_sha256(folder / TRAINED) != wanted:
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
    """Return the training images, each in each size: ``(C, H, W)`` with the given number of channels."""
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
    """One attempt at a training, by the process that has the lease on the model's folder."""

    def __init__(
        self, training: TrainingConfig, settings: dict[str, Any], folder: Path, accelerator: str, lease: Lease
    ) -> None:
        self.training, self.settings, self.folder, self.accelerator = training, settings, folder, accelerator
        self.lease = lease
        self.model = _ddpm(training, settings["channels"], _images(training, settings["channels"]))
        self.made_with: list[dict[str, Any]] = []
        self._before = 0.0
        self._resume()
        self.made_with.append(made_with(fingerprint(), accelerator, bfloat16=False))
        self._began = time.monotonic()

    def run(
        self,
        checkpoint_every: float | None,
        should_stop: Callable[[], bool],
        on_progress: Callable[[int, int, float], None],
    ) -> None:
        """Train to the end and write the model to its folder.

        Raises:
            Interrupted: If it was asked to stop; it has left a checkpoint.
            ModelError: If it diverged.
        """
        reports, checkpoints = Every(_REPORT_EVERY), Every(checkpoint_every or 0.0)

        def after_each() -> None:
            if reports.due() or self.model.iteration == self.training.iterations:
                on_progress(self.model.iteration, self.training.iterations, self._checked_loss())
            if checkpoint_every is not None and checkpoints.due():
                self.save()
                checkpoints.restart()  # the time that saving took does not count

        self.model.should_stop, self.model.on_iteration = should_stop, after_each
        left = range(self.model.iteration, self.training.iterations)
        try:
            with fitting():
                trainer_of(self.accelerator, logger=False, callbacks=[]).fit(self.model, left)
        except SIGTERMException as error:  # Lightning's handler of SIGTERM, active between two iterations
            self.save()
            raise Interrupted("the training was asked to stop by SIGTERM") from error
        except (Interrupted, KeyboardInterrupt):
            self.save()
            raise
        self.lease.check()
        self._write_model()

    def save(self) -> None:
        """Write a checkpoint. Inside an iteration, or if it cannot be written, the earlier one stays."""
        state = self.model.saved()
        if state is None:
            return
        try:
            self.lease.check()
            values = {"made_with": self.made_with, "seconds": self._seconds(), "model": state}
            write_state(self.folder / STATE, values)
        except OSError as error:
            log.warning("%s: no checkpoint could be written: %s", printable(self.folder), error)

    def _checked_loss(self) -> float:
        loss = float(self.model.losses[-1])
        if not math.isfinite(loss):
            raise ModelError(
                f"the training of {self.folder.name} diverged at iteration {self.model.iteration} or shortly before",
                allowed="a smaller method.training.lr",
            ) from FloatingPointError(f"loss {loss}")
        return loss

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _resume(self) -> None:
        path = self.folder / STATE
        try:
            state = read_state(path)
            self.model.resume(state["model"])
            self.made_with, self._before = state["made_with"], float(state["seconds"])
        except FileNotFoundError:
            return
        except CheckpointError as error:
            log.warning("%s; set aside as %s, the training starts again", error, set_aside(path).name)

    def _write_model(self) -> None:
        losses = torch.stack(self.model.losses).tolist()
        write_tensors(self.folder / TRAINED, self.model.averaged.module.state_dict())
        rows = [{"iteration": number, "loss": loss} for number, loss in enumerate(losses, 1)]
        write_csv(self.folder / "losses.csv", ("iteration", "loss"), rows)
        plot_losses(self.folder / "loss.png", losses, title=self.folder.name)
        values = {
            "settings": self.settings,
            "training": vars(self.training),
            "made_with": self.made_with,
            "seconds": round(self._seconds(), 1),
            "sha256": file_sha256(self.folder / TRAINED),
        }
        write_json(self.folder / MODEL, values)  # last: a folder with it holds a whole model
        (self.folder / STATE).unlink(missing_ok=True)

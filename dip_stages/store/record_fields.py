"""The fields of a record that are JSON objects, each as a TypedDict: names, units and meaning. Torch-free.

A PSNR is in dB; an SSIM has no unit. Both are of images clipped to [0, 1], against the clean image unless a field says
otherwise. ``needs_clean`` says whether the clean image chose the iteration.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "CellFields",
    "Chosen",
    "Computed",
    "End",
    "ErrorFields",
    "Gap",
    "Given",
    "ImageMetrics",
    "ImageName",
    "ImageQuality",
    "Iterations",
    "LastGood",
    "MemberFields",
    "Metrics",
    "Observed",
    "Peak",
    "Result",
    "Sigma",
    "StageFields",
    "Stopping",
    "Timing",
]

ImageName = Literal["output", "average"]
"""What a fit gives at each iteration: the network's output, and the average of the outputs so far."""


class ImageQuality(TypedDict):
    """The quality of an image."""

    psnr: float
    ssim: float


class Sigma(TypedDict):
    """A noise level and its origin."""

    source: str | None
    """``known`` or ``estimate``; null where a rule has no such setting."""
    value: float
    """Standard deviation on [0, 1]."""


class CellFields(TypedDict):
    """The identity of the cell."""

    id: str
    """Hash of the record's ``settings``."""
    folder: str
    axes: dict[str, Any]
    """Value of each axis; null where an axis does not apply to the method."""


class Computed(TypedDict, total=False):
    """How the cell was computed. Empty where the process died before it wrote this."""

    accelerator: str
    """``cpu``, ``cuda`` or ``mps``."""
    device: str
    precision: str
    """``float32`` or ``bfloat16``."""
    threads: int
    cuda_visible_devices: str | None
    versions: dict[str, str]
    """Of Python and of the packages that compute."""
    git_commit: str | None
    layout: str
    """``channels_last`` or ``contiguous``; only of fits."""
    together: int
    """Cells that the process computed at once."""
    members_together: int
    """Members of the ensemble that were fitted at once."""
    notes: list[str]
    """Problems that did not fail the cell."""


class Timing(TypedDict):
    """When and how long, over all attempts to compute the cell. Null where the process died before it wrote this."""

    started: str | None
    """When the last attempt began, in ISO 8601, UTC."""
    finished: str
    seconds: float | None
    seconds_per_iteration: float | None
    """Seconds of the fit alone, over its iterations; null without iterations."""


class Iterations(TypedDict):
    """Iterations of all members. Null where the process died before it wrote this."""

    planned: int | None
    run: int | None
    rollbacks: int | None
    """How many times a jump of the loss was rolled back."""
    resumed_at: list[int]
    """Iterations at which the cell was resumed from a checkpoint."""


class Given(TypedDict):
    """What a competitor was given."""

    sigma: Sigma
    model: str | None
    """Folder name of the trained model that it used."""
    training_seconds: NotRequired[float]
    """Seconds that this cell spent training the model, or waiting for it."""


class Observed(TypedDict, total=False):
    """The noisy image. Empty where the process died; size and quality are there once the image was made."""

    image: str
    source: str
    course_image: bool
    """Whether the clean image is that of the course report."""
    index: int | None
    sha256: str
    """Of the clean image's file."""
    noise: str
    unmet: list[str]
    """Assumptions of the method or its rules that do not hold for this noise, in words."""
    beta_max: float
    """Variance of the noise on [0, 1]."""
    sigma: float
    """Standard deviation of the noise on [0, 1]."""
    noise_seed: int
    height: int
    width: int
    channels: int
    psnr: float
    ssim: float
    recorruption: Sigma
    """The noise level of a fit under ``protocol=recorrupted``."""
    given: Given
    """Only of a competitor."""


class End(ImageQuality):
    """An image at the last iteration; of a competitor or an ensemble, ``iteration`` is null."""

    iteration: int | None


class Peak(ImageQuality):
    """An image at the iteration of its highest PSNR, among the ends of chunks."""

    iteration: int | None
    needs_clean: Literal[True]


class ImageMetrics(TypedDict):
    """Metrics of output or average."""

    end: End
    peak: Peak | None
    """Null for a competitor and for an ensemble."""


class Gap(TypedDict):
    """By how much the result falls short of the peak of its image."""

    value: float
    """In dB."""
    needs_clean: Literal[True]


class Result(ImageQuality):
    """The image that is the cell's result."""

    of: ImageName
    iteration: int | None
    needs_clean: bool
    gap_psnr: Gap | None


class Metrics(TypedDict):
    """The quality of a cell that is done."""

    output: ImageMetrics
    average: ImageMetrics | None
    """Null for a competitor."""
    result: Result


class Chosen(TypedDict):
    """What a stopping rule chose. Of an ensemble, output and average are the means over its members."""

    rule: str
    needs_clean: bool
    sigma: Sigma | None
    """The noise level that the rule used."""
    decided: bool
    """Whether the rule chose an iteration; if not, the last one is kept."""
    iteration: int | None
    """The chosen iteration."""
    spent: int
    """Iterations that had to be run for the choice."""
    statistic: NotRequired[float | None]
    """The lowest value of what the rule compares, in its unit: a residual, an estimated error, a variance. Null of a
    rule that compares nothing; of an ensemble, the mean. Older records lack it."""
    output: ImageQuality
    average: ImageQuality


class Stopping(Chosen):
    """What the cell's stopping rule chose, and each of its monitors."""

    monitors: dict[str, Chosen]
    """By label."""


class MemberFields(TypedDict):
    """One member of an ensemble."""

    seed: int
    iterations: int
    rollbacks: int
    metrics: Metrics
    stopping: Stopping


class StageFields(TypedDict):
    """One stage that ended."""

    member: int
    index: int
    beta: float
    """Variance of the stage's noise on [0, 1]."""
    budget: int
    """Its iterations."""
    loss: float
    target: ImageQuality
    """Of the output at the stage's end, against the stage's target."""
    clean: ImageQuality


class LastGood(TypedDict):
    """The last state of a fit before it diverged."""

    iteration: int
    output: ImageQuality
    average: ImageQuality
    weights: str
    """Name of the file with the network's weights."""


class ErrorFields(TypedDict):
    """Why a cell failed."""

    type: str
    """Name of the exception's class."""
    message: str
    traceback: str | None
    last_good: LastGood | None
    """Only of a fit that diverged."""

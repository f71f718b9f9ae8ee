"""Labels for people, made of a cell's axes and the fields that qualify them. Nothing reads them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages.cells.identity import AXES, QUALIFIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

__all__ = ["axis_labels", "labelled", "method_label", "protocol_label", "with_loss_labels"]


def axis_labels(axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people read of each axis.

    Args:
        axes: A cell's values of ``AXES`` and ``QUALIFIERS``.

    Returns:
        A value an axis, in their order; cells that differ in an axis or a qualifier differ in these.

    Example:
        >>> perceptual = {"loss": "perceptual", "features": "random", "loss_reference": "target"}
        >>> axis_labels(dict.fromkeys((*AXES, *QUALIFIERS)) | perceptual)["loss"]
        'perceptual (random)'
    """
    labels = {"method": method_label(axes), "loss": _loss(axes), "stopping": _stopping(axes)}
    return {axis: axes[axis] for axis in AXES} | labels


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of :func:`dip_stages.report.load` with labels in the columns of axes, less the qualifiers."""
    makers = {"method": method_label, "loss": _loss, "stopping": _stopping}
    return _with_labels(frame, makers).drop(columns=list(QUALIFIERS))


def with_loss_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the losses' labels alone, as for monitors, whose ``sigma_source`` is their own."""
    return _with_labels(frame, {"loss": _loss})


def _with_labels(frame: pd.DataFrame, makers: Mapping[str, Callable[[Mapping[Any, Any]], str | None]]) -> pd.DataFrame:
    fields = frame[[column for column in ("method", "loss", "stopping", *QUALIFIERS) if column in frame]]
    values = fields.astype(object).where(fields.notna(), None)
    rows = list(zip(*(values[column] for column in values), strict=True))
    kinds = {row: dict(zip(values, row, strict=True)) for row in set(rows)}  # few, of many cells
    labels: dict[str, Any] = {}
    for axis, label in makers.items():
        of_kind = {row: label(kind) for row, kind in kinds.items()}
        labels[axis] = [of_kind[row] for row in rows]
    return frame.assign(**labels).astype(dict.fromkeys(labels, "str"))


def method_label(axes: Mapping[str, Any]) -> str | None:
    """Return a method's name; of a competitor with its kind, and ``sigma estimated`` if it is so."""
    method: str | None = axes["method"]
    kind = axes["kind"]
    if method is None or kind in (None, "fit"):
        return method
    estimated = ", sigma estimated" if axes["sigma_source"] == "estimate" else ""
    return f"{method.replace('_', ' ')} ({kind}{estimated})"


def _loss(axes: Mapping[str, Any]) -> str | None:
    """Return a loss's name; of a perceptual one with its features, and whether it compares with the clean image."""
    loss: str | None = axes["loss"]
    if axes["features"] is None:
        return loss
    to_clean = ", to clean" if axes["loss_reference"] == "clean" else ""
    return f"{loss} ({axes['features']}{to_clean})"


def _stopping(axes: Mapping[str, Any]) -> str | None:
    """Return a stopping rule's name, and ``sigma estimated`` if it is so."""
    rule: str | None = axes["stopping"]
    return f"{rule} (sigma estimated)" if rule and axes["sigma_source"] == "estimate" else rule


def protocol_label(protocol: str) -> str:
    """Return a protocol's name, and whether it sees the clean image."""
    return f"{protocol} (sees the clean image)" if protocol == "clean" else protocol

"""The best iteration, which only the clean image can find: for analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.dip.stopping.base import Lowest, View

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Oracle"]


class Oracle(Lowest):
    """The best iteration by PSNR against the CLEAN image: no usable rule, but the bound that others are compared with.

    Args:
        clean: ``(1, C, H, W)``.
        of: ``output`` or ``average``: whose PSNR counts.
    """

    needs_clean = True

    def __init__(self, clean: Tensor, of: str) -> None:
        super().__init__(patience=None)
        self._clean, self._of = clean, of

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._clean = self._clean.to(like.device)

    def begin_stage(self) -> None:
        """Reset nothing: the clean image stays the same."""

    def _update(self, view: View) -> None:
        self._compare(view, (getattr(view, self._of) - self._clean).square().mean())

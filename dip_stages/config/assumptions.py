"""What methods, protocols and rules assume of the noise, and where it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dip_stages.config.config import Config

__all__ = ["unmet_assumptions"]


def unmet_assumptions(config: Config) -> tuple[str, ...]:
    """Return what parts of a cell assume of the noise that does not hold of it, a sentence each, for people."""
    noise = config.noise.name
    if noise == "gaussian":
        return ()
    if config.competitor:
        return (f"noise={noise}: method={config.competitor.name} assumes Gaussian noise of one variance",)
    return tuple(f"noise={noise}: {part} assumes {assumption}" for part, assumption in _assumptions_of_fit(config))


def _assumptions_of_fit(config: Config) -> Iterator[tuple[str, str]]:
    rules = {rule.name: rule for rule in (config.stopping, *config.active_monitors.values())}
    if config.recorrupted:
        yield "protocol=recorrupted", "Gaussian noise of one variance, of which it draws more"
    if config.staged and config.protocol.name == "renoised":
        yield "protocol=renoised", "that adding Gaussian noise gives a noisier image of the same kind"
    if "sure" in rules:
        yield "stopping=sure", "Gaussian noise of one variance, without which it estimates no risk"
    if "discrepancy" in rules and config.noise.name == "clipped":
        yield "stopping=discrepancy", "a variance of beta_max; clipping leaves less, so it stops too soon"
    if _estimates_sigma(config):
        yield "sigma=estimate", "Gaussian noise of one variance"


def _estimates_sigma(config: Config) -> bool:
    parts = [config.stopping, *config.active_monitors.values(), *([config.protocol] if config.recorrupted else [])]
    return any(getattr(part, "sigma", None) == "estimate" for part in parts)

"""Ablations of Deep Image Prior in stages, and of where it should stop."""

from importlib.metadata import version

__version__ = version("dip_stages")

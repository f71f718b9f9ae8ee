"""Hydra plugins of dip_stages."""

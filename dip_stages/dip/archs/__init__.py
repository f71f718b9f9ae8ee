"""Untrained networks, a file each; :mod:`~dip_stages.dip.archs.registry` lists them."""

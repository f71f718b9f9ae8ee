"""Stopping rules, a file each family; :mod:`~dip_stages.dip.stopping.registry` lists them."""

"""Sweeps: grids to cells, a plan, what is left to run, and what came of it. Torch-free."""

"""Many cells: planned, run, watched and gathered."""

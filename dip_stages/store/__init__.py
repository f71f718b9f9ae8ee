"""What lies on disk: records, states, checkpoints, leases; each file whole or not at all, and checksummed."""

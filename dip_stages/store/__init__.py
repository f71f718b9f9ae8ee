"""Files on disk: records, states, checkpoints, leases; each whole or not at all, and with a checksum."""

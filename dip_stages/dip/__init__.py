"""The method, tensors in and tensors out: Deep Image Prior, its stages, losses, networks and stopping rules."""

"""What the network is fed, and how many channels that has. Torch-free: a plan counts operations without torch."""

from __future__ import annotations

__all__ = ["INPUTS", "input_channels"]

INPUTS = ("previous_output", "fixed_noise", "noise_and_previous", "observed", "own_output")
"""Where the input of a stage comes from; ``own_output`` is that of aSeqDIP, which replaces it within the stage too."""


def input_channels(net_input: str, noise_channels: int, image_channels: int) -> int:
    """Return the number of channels of a network's input.

    Args:
        net_input: One of :data:`INPUTS`.
        noise_channels: Channels of a fixed noise input, >= 1.
        image_channels: Channels of the image, 1 or 3.

    Example:
        >>> input_channels("noise_and_previous", 32, 3)
        35
    """
    return {
        "fixed_noise": noise_channels,
        "previous_output": image_channels,
        "noise_and_previous": noise_channels + image_channels,
        "observed": image_channels,
        "own_output": image_channels,
    }[net_input]

"""The state of a fit: taken and restored by a rollback, and by a fit that resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

    from dip_stages.dip.module import DIPModule

__all__ = ["copied", "forward_unchanged", "restore", "state_of"]


def state_of(module: DIPModule) -> dict[str, Any]:
    """Return the state of a fit, for :func:`restore`; its tensors are the module's own, not copies."""
    return {
        "network": module.network.state_dict(),
        "optimiser": module.optimiser.state_dict(),
        "loss_value": module.loss_value,
        "output": module.output,
        "average": module.averaging.state(),
        "rules": [rule.state() for rule in module.rules],
        "net_input": module.net_input,
        # A rollback does not restore these, so that a chunk is run again with new jitter; a resumed fit does.
        "draws": module.draws.get_state(),
        "stage": module.stage,
    }


def restore(module: DIPModule, state: dict[str, Any]) -> None:
    """Put a fit into a state, except for the draws and the stage; the state's tensors must not be used elsewhere."""
    module.network.load_state_dict(state["network"])
    _restore_optimiser(module.optimiser, state["optimiser"])
    module.loss_value, module.output = (state[name].to(module.device) for name in ("loss_value", "output"))
    module.net_input.copy_(state["net_input"])
    module.averaging.restore(state["average"])
    for rule, rule_state in zip(module.rules, state["rules"], strict=True):
        rule.restore(rule_state)


def _restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state; of Adam into the existing tensors, if there are any: a captured iteration continues to use them."""
    if not optimiser.state or type(optimiser) is not torch.optim.Adam:
        optimiser.state.clear()
        optimiser.load_state_dict(copied(state))
        return
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        saved = state["state"].get(number)
        for name, value in optimiser.state[parameter].items():
            if saved is None:  # the state is from before the first step
                value.zero_()
            else:
                value.copy_(saved[name])


def forward_unchanged(network: nn.Module, net_input: Tensor) -> Tensor:
    """Return the output of a network in float32, without a gradient, and restore the statistics of its layers."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.no_grad():
        output: Tensor = network(net_input)
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
    return output.float()


def copied(state: Any) -> Any:
    """Return a copy of tensors and of the containers that hold them; much faster than ``copy.deepcopy``."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(map(copied, state))
    return state

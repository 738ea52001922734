"""Which layer went wrong first, when a loss is no number any more."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def explain(model: nn.Module, objective: nn.Module, batches: Iterable[tuple], step: int, loss: float) -> str:
    """One sentence: the step, and the first layer whose weights, result or gradient is NaN or infinite.

    Runs the batches once more and looks at what each layer returns.
    """
    head = f"the loss of step {step} is {loss:.4g}: "
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"{head}{name} holds NaN or infinity; was the learning rate too high before?"
    if not math.isfinite(loss):
        if wrong := _first_wrong_result(model, objective, batches):
            return f"{head}{wrong} is the first layer that returns NaN or infinity"
        return f"{head}the layers' results are finite, the loss computed from them is not"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"{head}but the gradient of {name} holds NaN or infinity"
    return f"{head}but its gradient is too long for its type"


def _first_wrong_result(model: nn.Module, objective: nn.Module, batches: Iterable[tuple]) -> str | None:
    wrong: list[str] = []

    def look(name: str):
        def hook(module: nn.Module, inputs: tuple, result: object) -> None:
            if isinstance(result, Tensor) and not result.isfinite().all():
                wrong.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(look(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            for batch in batches:
                objective(batch)
    finally:
        for handle in handles:
            handle.remove()
    return wrong[0] if wrong else None

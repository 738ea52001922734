"""Putting a module around the linear maps of a model, and taking it off again.

Works on any model: a map is found by its name, and replaced where it stands.
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn


class Wrapped(nn.Module):
    """A module around a linear map: ``nn.Linear``, or ``Conv1D`` as GPT-2 has it in transformers.

    Attributes:
        base: the map.
        in_features, out_features: its sizes.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.out_features, self.in_features = matrix(base).shape


def matrix(base: nn.Module) -> Tensor:
    """The weight of a linear map as (outputs, inputs); ``Conv1D`` stores it the other way round."""
    return base.weight if isinstance(base, nn.Linear) else base.weight.T


def wrap(model: nn.Module, targets: Sequence[str], around: Callable[[nn.Module], nn.Module]) -> None:
    """Replaces each map that ``targets`` name by what ``around`` makes of it; all or, where one is wrong, none.

    Args:
        targets: names of maps, or the ends of names after a dot: ``q_proj``, ``blocks.0.attention.q_proj``.
    Raises:
        ValueError: no target; one that names nothing or no linear map; a map that is wrapped or shares its weight.
    """
    found = find(model, targets)
    made = {name: around(base).to(base.weight).train(base.training) for name, base in found.items()}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, module in made.items():
        put(model, name, module)


def unwrap(model: nn.Module, kind: type[Wrapped]) -> None:
    """Puts the maps back in place of their wrappers, and lets all parameters be trained again.

    Raises:
        ValueError: the model has none.
    """
    for name, wrapped in list(wrappers(model, kind)):
        put(model, name, wrapped.base)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def wrappers(model: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a kind that were put into a model, with their names.

    Raises:
        ValueError: the model has none.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]
    if not found:
        raise ValueError(f"model ({type(model).__name__}) has no {kind.__name__}: add it first")
    yield from found


def find(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """The linear maps that ``targets`` name, as in ``wrap``.

    Raises:
        ValueError: no target; one that names nothing or no linear map; a map that is wrapped or shares its weight.
    """
    if isinstance(targets, str):
        raise ValueError(f"targets ({targets!r}) must be a list of names, not one text")
    if not targets:
        raise ValueError(f"targets ({targets!r}) must name at least one linear map")
    modules, found = dict(model.named_modules()), {}
    owners = [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    for target in targets:
        names = [name for name in modules if name == target or name.endswith(f".{target}")]
        if not names:
            ends = sorted({name.rpartition(".")[2] for name, module in modules.items() if _is_linear(module)})
            raise ValueError(f"targets: {target!r} is no part of this model; its linear maps are {', '.join(ends)}")
        for name in names:
            if isinstance(modules[name], Wrapped):
                raise ValueError(f"targets: {name} has a {type(modules[name]).__name__} already; remove that first")
            if not _is_linear(modules[name]):
                raise ValueError(f"targets: {name} is a {type(modules[name]).__name__}, it must be a linear map")
            if owners.count(id(modules[name].weight)) > 1:
                raise ValueError(f"targets: {name} shares its weight with another part, which would change with it")
            found[name] = modules[name]
    return found


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module where the model has another one."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)

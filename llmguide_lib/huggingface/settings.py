"""Settings: which entry of Hugging Face's configurations is which of ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field


def require(config: Mapping, name: str, *allowed: object) -> None:
    """Refuses a setting that our models do not have.

    Raises:
        ValueError: the configuration has it, with another value than these.
    """
    if name in config and config[name] not in allowed:
        shown = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} ({config[name]!r}) of this checkpoint must be {shown}: our model has nothing else")


@dataclass(frozen=True)
class Settings:
    """The settings of a family that are the same numbers in both, and those that our model has in one way only.

    Attributes:
        names: theirs by ours.
        fixed: by their names, the values that mean what our model does.
        equal: theirs that must be as another of theirs is, because we have one for both (dropouts).
        absent: what theirs is where a file leaves it out, if our configuration would take something else.
    """

    names: Mapping[str, str]
    fixed: Mapping[str, tuple]
    equal: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, object] = field(default_factory=dict)

    def read(self, config: dict) -> dict:
        """Our settings from theirs (a dictionary, as in config.json).

        Raises:
            ValueError: theirs asks for something that ours does not do.
        """
        config = {**self.absent, **config}
        for name, allowed in self.fixed.items():
            require(config, name, *allowed)
        for name, other in self.equal.items():
            require(config, name, config[other])
        return {ours: config[theirs] for ours, theirs in self.names.items() if theirs in config}

    def write(self, config: object) -> dict:
        """Their settings from our configuration."""
        written = {theirs: getattr(config, ours) for ours, theirs in self.names.items()}
        return written | {name: written[other] for name, other in self.equal.items()}

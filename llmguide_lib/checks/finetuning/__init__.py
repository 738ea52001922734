"""The exercises of chapter 09: references, inputs that tell answers apart, and well-known mistakes."""

from .adapting import LORA, MERGE
from .measuring import COST, RANK, SEEDS
from .mending import DEBUG

EXERCISES = (COST, LORA, MERGE, DEBUG, RANK, SEEDS)

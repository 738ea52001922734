"""The exercises of chapter 09: references, inputs that tell answers apart, and well-known mistakes."""

from .adapting import DEBUG, LORA, MERGE
from .measuring import COST, RANK, SEEDS

EXERCISES = (COST, LORA, MERGE, DEBUG, RANK, SEEDS)

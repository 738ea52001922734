"""The exercises of chapter 06: references, inputs that tell answers apart, and well-known mistakes."""

from .scoring import HAND, LOSS, MEASURE
from .writing import CACHE, TOP_P, TREE

EXERCISES = (HAND, LOSS, TOP_P, CACHE, TREE, MEASURE)

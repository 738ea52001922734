"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .attention import AttentionExplorer
from .masks import MaskBuilder
from .next_token import NextTokenExplorer
from .positions import PositionsExplorer

__all__ = ["AttentionExplorer", "MaskBuilder", "NextTokenExplorer", "PositionsExplorer"]

"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .attention import AttentionExplorer
from .masks import MaskBuilder

__all__ = ["AttentionExplorer", "MaskBuilder"]

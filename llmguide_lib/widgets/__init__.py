"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .anatomy import ModelAnatomy
from .attention import AttentionExplorer
from .masks import MaskBuilder
from .next_token import NextTokenExplorer

__all__ = ["AttentionExplorer", "MaskBuilder", "ModelAnatomy", "NextTokenExplorer"]

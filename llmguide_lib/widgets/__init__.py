"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .attention import AttentionExplorer
from .fill_in import FillInExplorer
from .logit_lens import LogitLensExplorer
from .masks import MaskBuilder
from .next_token import NextTokenExplorer

__all__ = ["AttentionExplorer", "FillInExplorer", "LogitLensExplorer", "MaskBuilder", "NextTokenExplorer"]

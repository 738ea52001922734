"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .attention import AttentionExplorer
from .export import export_page
from .masks import MaskBuilder
from .next_token import NextTokenExplorer

__all__ = ["AttentionExplorer", "MaskBuilder", "NextTokenExplorer", "export_page"]

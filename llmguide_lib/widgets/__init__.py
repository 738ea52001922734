"""Explorers: pictures to play with, alive in JupyterLab and, without a kernel, on the website."""

from .anatomy import ModelAnatomy
from .attention import AttentionExplorer
from .beams import BeamExplorer
from .export import export_page
from .fill_in import FillInExplorer
from .logit_lens import LogitLensExplorer
from .lora import LoraExplorer
from .masks import MaskBuilder
from .model_attention import ModelAttentionExplorer
from .next_token import NextTokenExplorer
from .positions import PositionsExplorer
from .tokenizer import TokenizerExplorer

__all__ = [
    "AttentionExplorer",
    "BeamExplorer",
    "FillInExplorer",
    "LogitLensExplorer",
    "LoraExplorer",
    "MaskBuilder",
    "ModelAnatomy",
    "ModelAttentionExplorer",
    "NextTokenExplorer",
    "PositionsExplorer",
    "TokenizerExplorer",
    "export_page",
]

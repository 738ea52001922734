"""Tokenizers: byte-level BPE and WordPiece, written to be read; their files are those of Hugging Face's library."""

from .base import Tokenizer
from .bpe import BPETokenizer
from .normalizing import CASED, UNCASED
from .splitting import PATTERNS
from .wordpiece import WordPieceTokenizer

"""Model families: a configuration, a model and presets with published sizes in one file each."""

from .bert import BERT, BERT_SIZES, BERTConfig
from .gpt import GPT, GPT_SIZES, GPTConfig
from .llama import LLAMA_SIZES, Llama, LlamaConfig
from .modernbert import MODERNBERT_SIZES, ModernBERT, ModernBERTConfig
from .seq2seq import SEQ2SEQ_SIZES, Seq2SeqConfig, Seq2SeqTransformer

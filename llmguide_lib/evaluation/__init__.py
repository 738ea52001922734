"""Evaluation: how well a model predicts, classifies and writes, and what may be concluded from it."""

from .baselines import COMPRESSORS, compressed_bits_per_byte, counted_bits_per_byte
from .classification import accuracy, confusion_matrix, f1
from .language import bits_per_byte, document_nats, masked_accuracy, perplexity
from .significance import Interval, bootstrap, bootstrap_mean, mcnemar, paired_bootstrap, paired_permutation, t_interval
from .texts import bleu, chrf, rouge

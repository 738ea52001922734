"""Training a few numbers beside a model that stays as it is; put on from outside, taken off without a trace."""

from .bottleneck import Bottleneck, add_bottlenecks, remove_bottlenecks
from .files import load_lora, save_lora
from .four_bits import NF4, FourBitLinear, dequantize, quantize, stored_bytes
from .freezing import freeze, layerwise, trainable
from .lora import DoRA, LoRA, add_lora, merge_lora, remove_lora, unmerge_lora
from .prompts import PrefixTuned, PromptTuned

"""The weight files of the engine in the browser: small, checked by a hash, readable with a few lines of JavaScript.

A file is a preamble of 48 bytes, a header and the numbers, all little-endian:

- preamble: ``LLMW``, version, bytes of the header, bytes of the numbers (4 bytes each), SHA-256 of all that follows;
- header: JSON with ``family``, ``config`` and ``tensors``, each with ``name``, ``shape``, ``dtype``, ``start``, the
  place of its first byte among the numbers, a multiple of 4;
- numbers: float16 as they are; int8 as a float32 scale for each row, then the rows. Vectors are always float16.
"""

import dataclasses
import hashlib
import json
import struct

import numpy as np
from torch import Tensor, nn

from ..models import Llama, ModernBERT

MAGIC, VERSION = b"LLMW", 1
DTYPES = ("float16", "int8")
FAMILIES = (Llama, ModernBERT)


def pack_weights(model: nn.Module, dtype: str = "float16") -> bytes:
    """A model as the engine in the browser reads it; shared weights are stored once.

    Args:
        model: a Llama or ModernBERT.
        dtype: "float16", or "int8" for matrices of whole numbers with a scale for each row.
    Raises:
        ValueError: another family or type, stretched rotary positions, or a weight that is NaN, infinite or too large
            for float16.
    """
    if not isinstance(model, FAMILIES):
        known = " and ".join(family.__name__ for family in FAMILIES)
        raise ValueError(f"model is a {type(model).__name__}; the engine in the browser runs {known}")
    scaling = getattr(model.config, "rope_scaling", None)
    if scaling is not None:
        raise ValueError(f"rope_scaling ({scaling}) must be None; the engine in the browser does not stretch positions")
    if dtype not in DTYPES:
        raise ValueError(f"dtype ({dtype!r}) must be one of {', '.join(DTYPES)}")
    listed, parts, start = [], [], 0
    for name, tensor in model.named_parameters():
        kept = dtype if tensor.ndim == 2 else "float16"
        parts.append(_padded(_packed(name, tensor, kept)))
        listed.append({"name": name, "shape": list(tensor.shape), "dtype": kept, "start": start})
        start += len(parts[-1])
    about = {"family": type(model).__name__, "config": dataclasses.asdict(model.config), "tensors": listed}
    header, numbers = json.dumps(about).encode(), b"".join(parts)
    digest = hashlib.sha256(header + numbers).digest()
    return MAGIC + struct.pack("<III", VERSION, len(header), len(numbers)) + digest + header + numbers


def packed_bytes(model: nn.Module, dtype: str = "float16") -> int:
    """How many bytes the numbers of ``pack_weights`` have; what stands before them are a few thousand more."""
    small = [p.shape for p in model.parameters() if p.ndim == 2 and dtype == "int8"]
    halves = sum(p.numel() for p in model.parameters()) - sum(rows * width for rows, width in small)
    return 2 * halves + sum(4 * rows + rows * width for rows, width in small)


def _packed(name: str, tensor: Tensor, dtype: str) -> bytes:
    values = tensor.detach().cpu().float().numpy()
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{name} of the model holds NaN, infinity or a number too large for float16")
    if dtype == "float16":
        return values.astype("<f2").tobytes()
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype("<f4")
    return scales.tobytes() + np.rint(values / scales).astype(np.int8).tobytes()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

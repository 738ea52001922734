#!/usr/bin/env python3
"""Our GPT and Llama beside what people would use instead: `make bench` writes benchmarks/results/models.json.

Everything on the same work in one process, in turns, several times; what counts are medians and their ratios.
nanoGPT is read from its folder (NANOGPT, or shared/peers/nanoGPT beside the repository), litgpt if it is installed.
"""

import ctypes
import gc
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from llmguide_lib.generation import generate
from llmguide_lib.huggingface import to_hf
from llmguide_lib.models import GPT, GPTConfig, Llama, LlamaConfig
from llmguide_lib.packing import PackedLinear, packed

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "models.json"
NANOGPT = Path(os.environ.get("NANOGPT", ROOT.parent / "shared" / "peers" / "nanoGPT"))
BATCH, LENGTH, STEPS, ROUNDS = 16, 128, 3, 5
SMALL = {"vocab_size": 2048, "max_seq_len": LENGTH, "d_model": 192, "num_heads": 6, "num_layers": 6}  # 3 M parameters
LARGE = {"vocab_size": 4096, "max_seq_len": 512, "d_model": 320, "num_heads": 8, "num_layers": 8}  # 10 M
Loss = Callable[[torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    # The first token stands for the one that follows the last: all positions count, so that no logits are copied.
    return F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, dims=1).flatten())


# -- who takes part: each entry makes a model and how its loss is computed --------------------------------------------


def our_gpt() -> tuple[nn.Module, Loss]:
    model = GPT(GPTConfig(**SMALL))
    return model, lambda tokens: cross_entropy(model(tokens), tokens)


def transformers_gpt() -> tuple[nn.Module, Loss]:
    model = to_hf(GPT(GPTConfig(**SMALL)))
    return model, lambda tokens: cross_entropy(model(tokens, use_cache=False).logits, tokens)


def nano_gpt() -> tuple[nn.Module, Loss]:
    spec = importlib.util.spec_from_file_location("nanogpt_model", NANOGPT / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.GPTConfig(
        LENGTH, SMALL["vocab_size"], SMALL["num_layers"], SMALL["num_heads"], SMALL["d_model"], 0.0
    )
    model = module.GPT(config)
    for block in model.transformer.h:  # its own is the exact GELU, which takes half as long; GPT-2 has this one
        block.mlp.gelu = nn.GELU("tanh")
    return model, lambda tokens: model(tokens, tokens.roll(-1, dims=1))[1]


class TorchTransformer(nn.Module):
    """What one would put together from torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        width, heads = SMALL["d_model"], SMALL["num_heads"]
        self.tokens, self.places = nn.Embedding(SMALL["vocab_size"], width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, nn.GELU("tanh"), batch_first=True, norm_first=True
        )
        self.stack = nn.TransformerEncoder(layer, SMALL["num_layers"], nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, SMALL["vocab_size"], bias=False)
        self.head.weight = self.tokens.weight
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.places.weight
        return self.head(self.stack(x, mask=self.mask, is_causal=True))


def torch_gpt() -> tuple[nn.Module, Loss]:
    model = TorchTransformer()
    return model, lambda tokens: cross_entropy(model(tokens), tokens)


def llama_config() -> LlamaConfig:
    return LlamaConfig(**SMALL, num_kv_heads=2, d_ff=512, tied=True)


def our_llama() -> tuple[nn.Module, Loss]:
    model = Llama(llama_config())
    return model, lambda tokens: cross_entropy(model(tokens), tokens)


def transformers_llama() -> tuple[nn.Module, Loss]:
    model = to_hf(Llama(llama_config()))
    return model, lambda tokens: cross_entropy(model(tokens, use_cache=False).logits, tokens)


def litgpt_llama() -> tuple[nn.Module, Loss]:
    import litgpt

    ours = llama_config()
    model = litgpt.GPT(
        litgpt.Config(
            block_size=LENGTH, vocab_size=ours.vocab_size, padded_vocab_size=ours.vocab_size, n_layer=ours.num_layers,
            n_head=ours.num_heads, n_embd=ours.d_model, n_query_groups=2, rotary_percentage=1.0,
            parallel_residual=False, bias=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP",
            intermediate_size=ours.d_ff,
        )
    )  # fmt: skip
    model.lm_head.weight = model.transformer.wte.weight
    return model, lambda tokens: cross_entropy(model(tokens), tokens)


GPTS = {"ours": our_gpt, "nanoGPT": nano_gpt, "transformers": transformers_gpt, "nn.Transformer": torch_gpt}
LLAMAS = {"ours": our_llama, "transformers": transformers_llama, "litgpt": litgpt_llama}


def present(peers: dict[str, Callable]) -> dict[str, Callable]:
    """Those that are here; says in a sentence which are not."""
    missing = [] if (NANOGPT / "model.py").exists() else ["nanoGPT"]
    missing += [] if importlib.util.find_spec("litgpt") else ["litgpt"]
    for name in sorted(set(missing) & set(peers)):
        print(f"{name} is not here and is left out.")
    return {name: make for name, make in peers.items() if name not in missing}


# -- measurements -----------------------------------------------------------------------------------------------------


def stepper(make: Callable[[], tuple[nn.Module, Loss]]) -> Callable[[], None]:
    """A function that trains one step."""
    torch.manual_seed(0)
    model, loss_of = make()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(0, SMALL["vocab_size"], (BATCH, LENGTH))

    def step() -> None:
        loss_of(tokens).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def in_turns(work: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each piece of work, done in turns so that a slow moment of the machine hits all."""
    for run in work.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, run in work.items():
            began = time.perf_counter()
            for _ in range(repeats):
                run()
            seconds[name].append((time.perf_counter() - began) / repeats)
    return {name: statistics.median(times) for name, times in seconds.items()}


def training(peers: dict[str, Callable]) -> dict[str, int]:
    """Tokens per second."""
    seconds = in_turns({name: stepper(make) for name, make in present(peers).items()}, STEPS)
    return {name: round(BATCH * LENGTH / one) for name, one in seconds.items()}


def generator() -> Llama:
    """The model that generates."""
    torch.manual_seed(0)
    return Llama(LlamaConfig(**LARGE, num_kv_heads=4, d_ff=896, tied=True)).eval()


def matrix_product_share(new: int = 64) -> float:
    """The part of the time of generating one text that goes into matrix products, by torch's profiler, one thread."""
    model, tokens, threads = generator(), torch.zeros(1, 16, dtype=torch.long), torch.get_num_threads()
    torch.set_num_threads(1)
    generate(model, tokens, new)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        generate(model, tokens, new)
    torch.set_num_threads(threads)
    spent = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    return round(spent["aten::mm"] / sum(spent.values()), 2)


def bound(batch: int) -> int:
    """Tokens per second if generating were nothing but the model's products with its packed matrices."""
    maps = [module for module in packed(generator(), batch).modules() if isinstance(module, PackedLinear)]
    rows = {linear.in_features: torch.randn(batch, 1, linear.in_features) for linear in maps}

    @torch.no_grad()
    def products() -> None:
        for linear in maps:
            linear(rows[linear.in_features])

    return round(batch / in_turns({"products": products}, 50)["products"])


def generation(batch: int, new: int = 128) -> dict[str, int]:
    """Tokens per second of greedy generation with a cache, ours and Hugging Face's, on the same weights."""
    ours = generator().double()
    theirs = to_hf(ours)
    theirs.generation_config.eos_token_id = theirs.generation_config.bos_token_id = None
    theirs.generation_config.pad_token_id = 0
    tokens = torch.randint(0, LARGE["vocab_size"], (batch, 16))
    asked = {"attention_mask": torch.ones_like(tokens), "max_new_tokens": new, "do_sample": False}
    # In float64, where no two tokens are so close that rounding decides; timed in float32.
    assert torch.equal(theirs.generate(tokens, **asked), generate(ours, tokens, new))
    ours, theirs = ours.float(), theirs.float()
    work = {"ours": lambda: generate(ours, tokens, new), "transformers": lambda: theirs.generate(tokens, **asked)}
    return {name: round(batch * new / one) for name, one in in_turns(work, 1).items()}


def peak_memory(group: str, name: str) -> float:
    """Peak MB that three training steps add to what the process held before them, in a process of its own."""
    code = f"import models; models.print_added_memory(models.{group}[{name!r}])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])  # nanoGPT says more


def print_added_memory(make: Callable[[], tuple[nn.Module, Loss]]) -> None:
    """Runs three steps and prints what they added to the memory held before; Linux only, which can forget a peak."""
    step = stepper(make)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what making the model left behind would be used again and not counted
    before = memory_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for _ in range(3):
        step()
    print((memory_kb("VmHWM") - before) / 1e3)


def memory_kb(name: str) -> int:
    """The memory of this process now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def import_seconds(module: str) -> float:
    """Seconds that an import adds to that of torch."""
    code = f"import time, torch; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT) for _ in range(5)]
    return round(statistics.median(float(run.stdout) for run in runs), 3)


def over_best(figures: dict[str, float], best: Callable) -> float:
    """Ours divided by the best of the others."""
    return round(figures["ours"] / best(value for name, value in figures.items() if name != "ours"), 3)


def main() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    gpts, llamas = training(GPTS), training(LLAMAS)
    generated = {f"batch {batch}": generation(batch) for batch in (1, 16)}
    memory = {
        group: {name: round(statistics.median(peak_memory(group, name) for _ in range(3))) for name in present(peers)}
        for group, peers in (("GPTS", GPTS), ("LLAMAS", LLAMAS))
    }
    figures = {
        "train_tokens_per_second_over_best_peer": min(over_best(gpts, max), over_best(llamas, max)),
        "cached_generation_over_hf": min(over_best(one, max) for one in generated.values()),
        "peak_memory_over_leanest_peer": max(over_best(one, min) for one in memory.values()),
        "gpt_train_tokens_per_second": gpts,
        "llama_train_tokens_per_second": llamas,
        "cached_generation_tokens_per_second": generated,
        "matrix_product_share_of_generation": matrix_product_share(),
        "matrix_products_alone_tokens_per_second": {f"batch {batch}": bound(batch) for batch in (1, 16)},
        "gpt_step_peak_mb": memory["GPTS"],
        "llama_step_peak_mb": memory["LLAMAS"],
        "import_seconds_beyond_torch": {
            name: import_seconds(name) for name in ("llmguide_lib.attention", "llmguide_lib.models", "transformers")
        },
    }
    result = {
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "figures": figures,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

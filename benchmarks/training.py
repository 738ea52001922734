#!/usr/bin/env python3
"""Loss at equal time: our training beside nanoGPT's and Hugging Face's, and what each of our ingredients gives.

    python benchmarks/training.py --nanogpt PATH            # about 100 minutes on one quiet thread
    python benchmarks/training.py --parts ablations         # only a part of it

All read the same tokens of the documentation and are measured in float32 on the same held-out documents, every token
scored once, with at least half of the model's own context before it. Time is what training steps take, loading
included; imports, evaluation and saving are not counted. Who must be told a number of steps (all but us) gets the
number that fits: it is found by trying, and a run that is off by more than TOLERANCE is made again (twice at most; the
nearest counts, with its time in the results).

Peers have their authors' settings for a run of this kind, quoted at CONTESTANTS. litgpt is left out: it is not
installed with the course, and its settings on a model of somebody else would not be litgpt.

Each cell is written to benchmarks/results/training-UNITS.json when it is finished, and what is there is not made again.
UNITS is what the machine computes bfloat16 with (amx, avx512, or none: then we compute in float32 too); who wins by how
much depends on it. What runs leave behind stands in runs/training (git-ignored).
"""

import argparse
import importlib.util
import json
import pickle
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from llmguide_lib import files, runtime, training  # noqa: E402
from llmguide_lib.corpora import documentation  # noqa: E402
from llmguide_lib.corpora.storage import token_row  # noqa: E402
from llmguide_lib.evaluation import bits_per_byte  # noqa: E402
from llmguide_lib.layers import FeedForward, LayerNorm  # noqa: E402
from llmguide_lib.models import GPT, GPTConfig, Llama  # noqa: E402
from llmguide_lib.models.inputs import initialise  # noqa: E402
from llmguide_lib.objectives import NextToken, Windows  # noqa: E402
from llmguide_lib.positions import LearnedPositions  # noqa: E402
from llmguide_lib.runs.recipes import LENGTH, RECIPES, SPECIAL_TOKENS, VOCAB_SIZE, course_tokenizer  # noqa: E402

UNITS = "amx" if torch.cpu._is_amx_tile_supported() else "avx512" if torch.cpu._is_avx512_bf16_supported() else "none"
RESULTS, WORK = ROOT / "benchmarks" / "results" / f"training-{UNITS}.json", ROOT / "runs" / "training"
RECIPE = RECIPES["gpt-course"]
END = SPECIAL_TOKENS[0]
TOLERANCE = 0.05
SEEDS = {60: (0, 1, 2), 300: (0, 1)}
PARTS = ["pilot", "60", "300", "ablations"]
# The size of gpt-course, as GPT-2 has it.
WIDTH, LAYERS, HEADS = 192, 5, 6


@dataclass(frozen=True)
class Outcome:
    """A trained model and what training it took."""

    model: nn.Module
    steps: int
    seconds: float
    loading_share: float | None = None


# -- what all read, and how all are measured ---------------------------------------------------------------------------


tokenizer = cache(course_tokenizer)


@cache
def rows() -> dict[str, Tensor]:
    """The training and validation tokens."""
    return {split: token_row(texts(split), tokenizer(), END) for split in ("train", "validation")}


@cache
def texts(split: str) -> list[str]:
    """The documents of a split."""
    return [document.text for document in documentation(split)]


def measured(outcome: Outcome, part: str) -> dict[str, float | int]:
    """A cell: bits per byte on every second validation document (the pilot: on the others), and what the run took."""
    held_out, end_id = texts("validation")[part == "pilot" :: 2], tokenizer().token_to_id(END)
    bits = bits_per_byte(outcome.model.eval(), held_out, tokenizer().encode, end_id)
    found = {
        "bits_per_byte": round(bits, 4),
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in outcome.model.parameters()),
    }
    return found if outcome.loading_share is None else found | {"loading_share": round(outcome.loading_share, 5)}


class Reader(nn.Module):
    """A peer's model as our evaluation calls it.

    Texts are filled up on the right, where a causal model does not look, so there is no need for the mask.
    """

    def __init__(self, model: nn.Module, length: int, scores: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.scores, self.config = model, scores, SimpleNamespace(max_seq_len=length)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.scores(self.model, tokens)


def fitted(name: str, seconds: float, run: Callable[[int], Outcome]) -> Outcome:
    """The run whose number of steps takes this time; what a step of it takes is kept for the next seed."""
    path = WORK / "seconds_per_step.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    each, nearest = known.get(name) or run(40).seconds / 40, None
    for _ in range(3):  # where the machine is not quiet, no number of steps may fit
        outcome = run(max(1, round(seconds / each)))
        each = outcome.seconds / outcome.steps
        if nearest is None or abs(outcome.seconds - seconds) < abs(nearest.seconds - seconds):
            nearest = outcome
        if abs(nearest.seconds / seconds - 1) <= TOLERANCE:
            break
    files.write_atomically(path, [json.dumps(known | {name: nearest.seconds / nearest.steps}).encode()])
    return nearest


# -- ours --------------------------------------------------------------------------------------------------------------


def sized(width: int, layers: int, length: int = 128) -> Callable[[], Llama]:
    """Makes our decoder in another size, for windows of this length."""
    sizes = {"d_model": width, "num_layers": layers, "num_heads": width // 32, "d_ff": round(width * 19 / 6)}
    return lambda: Llama(replace(RECIPE.model().config, max_seq_len=length, **sizes))


SMALL, COURSE = sized(128, 4), sized(WIDTH, LAYERS)
# The recipe was made for hours. In minutes, many small steps teach more than few large ones: how small a batch and a
# model, the pilot says, on held-out documents that the comparison does not use.
LARGE = {"make": RECIPE.model, "batch_size": 16, "length": 256}
PILOT = {
    60: {
        "192 x 5, batches of 16 x 256": LARGE,
        "192 x 5, batches of 8 x 128": {"make": COURSE, "batch_size": 8},
        "192 x 5, batches of 4 x 128": {"make": COURSE, "batch_size": 4},
        "128 x 4, batches of 16 x 128": {"make": SMALL, "batch_size": 16},
        "128 x 4, batches of 8 x 128": {"make": SMALL, "batch_size": 8},
        "128 x 4, batches of 12 x 64": {"make": sized(128, 4, 64), "batch_size": 12, "length": 64},
    },
    300: {
        "128 x 4, batches of 16 x 128": {"make": SMALL, "batch_size": 16},
        "128 x 4, batches of 8 x 128": {"make": SMALL, "batch_size": 8},
        "160 x 5, batches of 16 x 128": {"make": sized(160, 5), "batch_size": 16},
        "192 x 5, batches of 8 x 128": {"make": COURSE, "batch_size": 8},
    },
}


def ours(
    seed: int,
    seconds: float,
    make: Callable[[], nn.Module] = SMALL,
    *,
    length: int = 128,
    batch_size: int = 8,
    **changed: object,
) -> Outcome:
    """The recipe of gpt-course, in the size that the pilot found best for minutes, or with what is given changed."""
    runtime.seed_everything(seed)
    model = make()
    config = replace(RECIPE.config, steps=None, seconds=seconds, eval_every=None, save_every=None, seed=seed, **changed)
    records = training.train(model, NextToken(Windows(rows()["train"], length, batch_size, seed)), config)
    return Outcome(model, records.step, records.seconds, records.loading_share)


class LearnedLlama(Llama):
    """Our decoder with learned positions instead of rotary ones."""

    def __init__(self) -> None:
        super().__init__(SMALL().config)
        self.position_embedding = LearnedPositions(self.config.max_seq_len, self.config.d_model)
        initialise(self.position_embedding, 0.02)

    def hidden(self, tokens: Tensor, mask: Tensor | None = None, cache: None = None) -> Tensor:
        x = self.token_embedding(tokens) + self.position_embedding(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)


def with_layer_norm() -> Llama:
    """Our decoder with LayerNorm instead of RMSNorm."""
    model = SMALL()
    width = model.config.d_model
    for block in model.blocks:
        block.norm1, block.norm2 = LayerNorm(width), LayerNorm(width)
    model.final_norm = LayerNorm(width)
    return model


def without_gate() -> Llama:
    """Our decoder with GELU between two maps instead of SwiGLU, of as many weights."""
    model = SMALL()
    for block in model.blocks:
        block.feed_forward = FeedForward(model.config.d_model, model.config.d_ff * 3 // 2, nn.GELU("tanh"), bias=False)
        initialise(block.feed_forward, 0.02)
    return model


def untied() -> Llama:
    """Our decoder with a matrix of its own for the scores."""
    return Llama(replace(SMALL().config, tied=False))


def gpt2() -> GPT:
    """Our GPT-2: learned positions, LayerNorm, GELU and biases together."""
    same = {name: getattr(SMALL().config, name) for name in ("vocab_size", "max_seq_len", "d_model", "num_heads")}
    return GPT(GPTConfig(**same, num_layers=SMALL().config.num_layers))


# The base is run again among its variants: the machine may be busier or calmer than it was for the comparison.
BASE = "nothing changed"
ABLATIONS = {
    BASE: {},
    "AdamW at 3e-3 instead of Muon": {"optimizer": training.AdamW(lr=3e-3)},
    "AdamW at 6e-3 instead of Muon": {"optimizer": training.AdamW(lr=6e-3)},
    "float32 instead of bfloat16": {"precision": "float32"},
    "learned positions instead of rotary": {"make": LearnedLlama},
    "LayerNorm instead of RMSNorm": {"make": with_layer_norm},
    "GELU instead of SwiGLU": {"make": without_gate},
    "GPT-2's blocks (the last three, and biases)": {"make": gpt2},
    "embedding and head not tied": {"make": untied},
    "16 windows in a batch instead of 8": {"batch_size": 16},
    "windows of 256 tokens instead of 128": {"make": sized(128, 4, 256), "length": 256, "batch_size": 4},
    "the model and the batches of gpt-course": LARGE,
    "no warm-up": {"schedule": training.Cosine()},
    "no decay of the learning rate": {"schedule": training.Constant(warmup_steps=20)},
}


# -- nanoGPT -----------------------------------------------------------------------------------------------------------

# Its train.py seeds itself with a fixed number: the seed of the run is added to it. Nothing else of it is changed.
NANOGPT_COMMAND = """
import runpy, torch
fixed = torch.manual_seed
torch.manual_seed = lambda number: fixed(number + {seed})
runpy.run_path("train.py", run_name="__main__")
"""
NANOGPT_CPU = {"block_size": 64, "batch_size": 12, "n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0}
NANOGPT_OURS = NANOGPT_CPU | {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH}


def nanogpt(folder: Path, seed: int, seconds: float, settings: dict[str, float]) -> Outcome:
    """nanoGPT's own train.py, with config/train_shakespeare_char.py and the options of its README for a CPU."""
    data, out = WORK / "data", WORK / "nanogpt"
    data.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train.bin"), ("validation", "val.bin")):
        (data / name).write_bytes(rows()[split].to(torch.uint16).numpy().tobytes())
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": VOCAB_SIZE}))

    def run(steps: int) -> Outcome:
        # It saves when it evaluates, which it does before its first step and after the last one here.
        options = settings | {
            "device": "cpu", "compile": False, "eval_iters": 1, "log_interval": 1, "eval_interval": steps,
            "max_iters": steps, "lr_decay_iters": steps, "always_save_checkpoint": True, "dataset": data,
            "out_dir": out,
        }  # fmt: skip
        words = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-c", NANOGPT_COMMAND.format(seed=seed), "config/train_shakespeare_char.py", *words]
        log = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=True).stdout
        times = [float(ms) / 1000 for ms in re.findall(r"^iter \d+: .* time ([\d.]+)ms", log, re.MULTILINE)][:steps]
        times[0] = statistics.median(times)  # which holds an evaluation
        return Outcome(_nanogpt_model(folder, out / "ckpt.pt"), steps, sum(times))

    return fitted(f"nanoGPT {settings['n_embd']} wide", seconds, run)


def _nanogpt_model(folder: Path, path: Path) -> Reader:
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    saved = torch.load(path, weights_only=True)
    model = module.GPT(module.GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    return Reader(model, saved["model_args"]["block_size"], lambda model, tokens: model(tokens, tokens)[0])


# -- Hugging Face's Trainer --------------------------------------------------------------------------------------------

HF_COURSE = {
    "per_device_train_batch_size": 32, "learning_rate": 5e-4, "lr_scheduler_type": "cosine", "weight_decay": 0.1,
    "bf16": True,
}  # fmt: skip


def trainer(seed: int, seconds: float, length: int, arguments: dict[str, object], warmup: float = 0.0) -> Outcome:
    """A GPT-2 of our size, trained by the Trainer on consecutive blocks of tokens, as its example scripts cut them."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    row = rows()["train"]
    blocks = [
        {"input_ids": block, "labels": block} for block in row[: len(row) // length * length].long().split(length)
    ]

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *given: object, **more: object) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *given: object, **more: object) -> None:
            self.seconds = time.perf_counter() - self.began

    def run(steps: int) -> Outcome:
        transformers.set_seed(seed)
        config = transformers.GPT2Config(
            vocab_size=VOCAB_SIZE, n_positions=length, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model, clock = transformers.GPT2LMHeadModel(config), Clock()
        told = transformers.TrainingArguments(
            str(WORK / "trainer"), max_steps=steps, warmup_steps=round(warmup * steps), seed=seed, use_cpu=True,
            report_to="none", save_strategy="no", disable_tqdm=True, **arguments,
        )  # fmt: skip
        transformers.Trainer(model, told, train_dataset=blocks, callbacks=[clock]).train()
        return Outcome(Reader(model, length, lambda model, tokens: model(tokens).logits), steps, clock.seconds)

    return fitted(f"Trainer {arguments or 'defaults'}", seconds, run)


# -- cells -------------------------------------------------------------------------------------------------------------

# Who takes part, and in words with what settings.
OURS = {60: {"batch_size": 8}, 300: {"batch_size": 16}}
CONTESTANTS = {
    "ours": "the recipe of gpt-course (Llama's blocks, Muon 1e-2 beside AdamW 6e-3, warm-up of 20 steps, cosine,"
    " bfloat16 where the machine computes with it) with a smaller model, 4 layers of 128, and smaller batches: 8 x 128"
    " tokens in a minute, 16 x 128 in five, as the pilot found best (results of 300 s with units amx: 5 layers of 192"
    " and 8 x 128, before there was a pilot for them)",
    "nanoGPT, its CPU model": "config/train_shakespeare_char.py (AdamW 1e-3, beta2 0.99, weight decay 0.1, warm-up of"
    " 100 steps, cosine to 1e-4) with its README's options for a CPU: 4 layers of 128, batches of 12 x 64 tokens, no"
    " dropout; max_iters and lr_decay_iters as fit into the time; float32, it has no other on a CPU",
    "nanoGPT, our size": "the same with 5 layers of 192",
    "Trainer as in Hugging Face's course": "GPT-2 of 5 layers of 192; chapter 7.6 of the course, training from scratch:"
    " AdamW 5e-4, weight decay 0.1, cosine, batches of 32 x 128 tokens, mixed precision (bfloat16 here). Its"
    " accumulation over 8 batches is left out and its warm-up of 1000 steps is 5 % of the run: as given, a minute would"
    " hardly leave the warm-up",
    "Trainer, all defaults": "GPT-2 of 5 layers of 192; AdamW 5e-5, falling in a straight line, no weight decay,"
    " batches of 8 x 256 tokens, float32",
}


def contestants(folder: Path | None, seconds: int) -> dict[str, Callable[[int, float], Outcome]]:
    """Those that are here, and take part in runs of this length."""
    if folder is None:
        print("nanoGPT is left out: --nanogpt does not say where it is.")
    nano = {} if folder is None else {
        "nanoGPT, its CPU model": partial(nanogpt, folder, settings=NANOGPT_CPU),
        "nanoGPT, our size": partial(nanogpt, folder, settings=NANOGPT_OURS),
    }  # fmt: skip
    found = {"ours": partial(ours, **OURS[seconds]), **nano}
    if seconds > 60:  # the Trainer is so far behind in a minute that five are better spent on the others
        return found
    course = partial(trainer, length=128, arguments=HF_COURSE, warmup=0.05)
    defaults = partial(trainer, length=LENGTH, arguments={})
    return found | {"Trainer as in Hugging Face's course": course, "Trainer, all defaults": defaults}


def plan(parts: list[str], folder: Path | None) -> list[tuple[str, str, int, int, Callable[[int, float], Outcome]]]:
    """Part, name, seconds, seed and function of each cell, in the order in which they are made."""
    cells = []
    if "pilot" in parts:
        cells += [
            ("pilot", name, seconds, 0, partial(ours, **changed))
            for seconds, tried in PILOT.items()
            for name, changed in tried.items()
        ]
    for seconds in SEEDS:
        if str(seconds) in parts:
            found = contestants(folder, seconds)
            cells += [
                ("contestants", name, seconds, seed, found[name]) for seed, name in product(SEEDS[seconds], found)
            ]
    if "ablations" in parts:
        changes = product((0, 1), ABLATIONS.items())
        cells += [("ablations", name, 60, seed, partial(ours, **changed)) for seed, (name, changed) in changes]
    return cells


def figures(contestants: dict, ablations: dict) -> dict[str, object]:
    """What the cells say: who is ahead by how much, what each ingredient gives, and the share of time for loading."""
    found: dict[str, object] = {}
    for seconds in map(str, SEEDS):
        bits = {name: bits_of(cells[seconds]) for name, cells in contestants.items() if seconds in cells}
        peers = {name: values for name, values in bits.items() if name != "ours"}
        if "ours" in bits and peers:
            best = min(peers, key=lambda name: statistics.mean(peers[name]))
            gains = [theirs - our for theirs, our in product(peers[best], bits["ours"])]
            found[f"bits_per_byte_gain_{seconds}s"] = round(statistics.mean(gains), 3)
            found[f"bits_per_byte_gain_{seconds}s_over_pairs_of_seeds"] = [round(min(gains), 3), round(max(gains), 3)]
            found[f"best_peer_{seconds}s"] = best
    own = contestants.get("ours", {})
    shares = [cell["loading_share"] for cells in own.values() for cell in cells.values()]
    if shares:
        found["data_loading_share"] = max(shares)
    for name, cells in ablations.items():
        pairs = [(cell, ablations.get(BASE, {}).get("60", {}).get(seed)) for seed, cell in cells["60"].items()]
        losses = [cell["bits_per_byte"] - base["bits_per_byte"] for cell, base in pairs if base]
        if losses:
            found.setdefault("bits_per_byte_lost_60s", {})[name] = [round(loss, 3) for loss in losses]
    return found


def bits_of(cells: dict[str, dict]) -> list[float]:
    """Bits per byte of all seeds."""
    return [cell["bits_per_byte"] for cell in cells.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, help="the folder of nanoGPT")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    parts = {part: done.get(part, {}) for part in ("pilot", "contestants", "ablations")}
    for part, name, seconds, seed, run in plan(options.parts, options.nanogpt and options.nanogpt.resolve()):
        cells = parts[part].setdefault(name, {}).setdefault(str(seconds), {})
        if str(seed) in cells:
            continue
        cells[str(seed)] = measured(run(seed, seconds), part)
        print(f"{name}, {seconds} s, seed {seed}: {cells[str(seed)]}", flush=True)
        content = {
            "command": "python benchmarks/training.py --nanogpt PATH",
            "measured_on": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} thread(s), "
            f"units for bfloat16: {UNITS}",
            "versions": versions(),
            "figures": figures(parts["contestants"], parts["ablations"]),
            "settings": CONTESTANTS,
            **parts,
        }
        files.write_atomically(RESULTS, [(json.dumps(content, indent=1) + "\n").encode()])


def versions() -> dict[str, str]:
    """Of what was measured."""
    import accelerate
    import transformers

    return {
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in (torch, transformers, accelerate)},
    }


if __name__ == "__main__":
    main()

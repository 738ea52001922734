"""Training: schedules, optimizers, one loop that can be stopped at any moment, by one process or several."""

import functools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from llmguide_lib.models import BERT, GPT, BERTConfig, GPTConfig, Seq2SeqConfig, Seq2SeqTransformer
from llmguide_lib.objectives import (
    Batch,
    MaskedTokens,
    Masking,
    NextToken,
    Windows,
    cross_entropy,
    masked_cross_entropy,
)
from llmguide_lib.tokenizers import BPETokenizer
from llmguide_lib.training import (
    AdamW,
    Constant,
    Cosine,
    InverseSquareRoot,
    Muon,
    TrainConfig,
    WarmupStableDecay,
    engine,
    parallel,
    progress,
    state,
    train,
)

ROOT = Path(__file__).resolve().parent.parent
TOKENS = torch.arange(4000) * 7 % 50


def model(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_layers=2, dropout=dropout))


def bert():
    torch.manual_seed(0)
    return BERT(BERTConfig(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_layers=1))


def masked(size=4):
    return MaskedTokens(Windows(TOKENS, 16, size), Masking(0.3, 1, 50))


def translator():
    torch.manual_seed(0)
    sizes = dict(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_encoder_layers=1, num_decoder_layers=2)
    return Seq2SeqTransformer(Seq2SeqConfig(**sizes, dropout=0.1))


def translation_loss(m, batch):
    logits = m(batch.tokens, batch.tokens)
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")


def batches(size=4, seed=0):
    return NextToken(Windows(TOKENS, 16, size, seed))


def config(**settings):
    return TrainConfig(**{"steps": 6, "precision": "float32", "log_every": 1, "eval_every": 3} | settings)


def weights(trained):
    return torch.cat([p.detach().flatten() for p in trained.parameters()])


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    class Silent:
        def update(self, records, share): ...

        def close(self): ...

    monkeypatch.setattr(progress, "_make", Silent)


# Schedules and optimizers


def test_schedules_rise_and_fall_as_they_say():
    cosine = Cosine(warmup_steps=3, floor=0.1)
    assert [round(cosine(step, 0.0), 4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert cosine(9, 0.5) == pytest.approx(0.55) and cosine(9, 1.0) == pytest.approx(0.1)
    stable = WarmupStableDecay(decay=0.25)
    assert [stable(9, share) for share in (0.0, 0.75, 0.875, 1.0)] == [1.0, 1.0, 0.5, 0.0]
    inverse = InverseSquareRoot(warmup_steps=9)
    assert inverse(9, 0.0) == 1.0 and inverse(39, 0.0) == pytest.approx(0.5)
    assert Constant()(7, 0.9) == 1.0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Constant(warmup_steps=-1), r"warmup_steps \(-1\) must not be negative"),
        (lambda: WarmupStableDecay(decay=0), r"decay \(0\) must be above 0 and at most 1"),
        (lambda: AdamW(lr=0), r"lr \(0\) must be positive"),
        (lambda: AdamW(weight_decay=-1), r"weight_decay \(-1\) must not be negative"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"betas \(\(0.9, 1.0\)\) must be at least 0 and less than 1"),
        (lambda: Muon(momentum=1.0), r"momentum \(1.0\) must be at least 0 and less than 1"),
        (lambda: config(steps=None), r"steps \(None\) or seconds \(None\) must be given, and only one of them"),
        (lambda: config(seconds=3), r"steps \(6\) or seconds \(3\) must be given, and only one of them"),
        (lambda: config(accumulate=0), r"accumulate \(0\) must be positive"),
        (lambda: config(precision="float16"), r"precision \('float16'\) must be one of float32, bfloat16, or None"),
        (lambda: config(average=1.0), r"average \(1.0\) must be above 0 and below 1"),
        (lambda: config(steps=2.5), r"steps \(2.5\) must be an integer"),
        (lambda: config(eval_every=0), r"eval_every \(0\) must be positive"),
        (lambda: config(seed=-1), r"seed \(-1\) must not be negative"),
        (lambda: AdamW()(model().requires_grad_(False)), "model has no parameter that may be trained"),
    ],
)
def test_bad_settings_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_matrices_decay_and_muon_takes_those_of_the_blocks():
    trained = model()
    (adamw,) = AdamW(weight_decay=0.3)(trained)
    decayed, spared = adamw.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2} and {p.ndim for p in spared["params"]} == {1}
    muon, rest = Muon()(trained)
    inside = {id(p) for p in muon.param_groups[0]["params"]}
    assert inside == {id(p) for block in trained.blocks for p in block.parameters() if p.ndim == 2}
    others = [p for group in rest.param_groups for p in group["params"]]
    assert len(inside) + len(others) == len(list(trained.parameters()))


def test_blocks_are_found_in_encoder_and_decoder_too():
    trained = translator()
    muon, rest = Muon()(trained)
    inside = {id(p) for p in muon.param_groups[0]["params"]}
    stacks = [*trained.encoder.blocks, *trained.decoder.blocks]
    assert inside == {id(p) for block in stacks for p in block.parameters() if p.ndim == 2}
    assert len(inside) + sum(len(group["params"]) for group in rest.param_groups) == len(list(trained.parameters()))


@pytest.mark.parametrize("settings", [{"optimizer": Muon()}, {"recompute": True}])
def test_a_model_without_blocks_is_refused_where_blocks_are_needed(settings):
    with pytest.raises(ValueError, match=r"model \(Linear\) must have blocks, in a list of modules with this name"):
        train(nn.Linear(2, 2), batches(), config(**settings))


def test_without_muon_in_torch_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"torch .* has no Muon; use AdamW, or torch 2.9 or newer"):
        Muon()(model())


# Objectives


def test_every_epoch_reads_each_window_once_in_its_own_order():
    windows = Windows(torch.arange(101), length=10, batch_size=3)
    assert windows.num_windows == 9
    epochs = [torch.cat([windows.rows(3 * epoch + at) for at in range(3)]) for epoch in range(2)]
    for rows in epochs:
        starts = rows[:, 0].sort().values
        assert rows.shape == (9, 11) and (starts.diff() == 10).all() and (rows.diff() == 1).all()
    assert not torch.equal(epochs[0], epochs[1])


def test_batches_follow_from_number_and_seed_alone():
    masked = MaskedTokens(Windows(TOKENS, 16, 4), Masking(0.3, 1, 50))
    for kind in (batches(), masked):
        from_start, later = iter(kind), kind.starting_at(2)
        next(from_start), next(from_start)
        for _ in range(3):
            for one, other in zip(next(from_start), next(later), strict=True):
                assert one is other is None or torch.equal(one, other)
    first, second = next(iter(batches())), next(iter(batches(seed=1)))
    assert not torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.tokens[:, 1:], first.targets[:, :-1])


def test_masking_hides_the_shares_that_it_names():
    tokens = torch.randint(3, 1000, (200, 500), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = 2
    batch = Masking(0.2, 1, 1000, special=(2,))(tokens, torch.Generator().manual_seed(0))
    asked = batch.targets != -100
    assert not asked[:, 0].any() and torch.equal(batch.targets[asked], tokens[asked])
    assert torch.equal(batch.tokens[~asked], tokens[~asked])
    hidden, kept = batch.tokens[asked] == 1, batch.tokens[asked] == tokens[asked]
    # 20,000 draws: four standard deviations are about 0.012.
    assert asked[:, 1:].float().mean() == pytest.approx(0.2, abs=0.006)
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.012) and kept.float().mean() == pytest.approx(
        0.1, abs=0.01
    )


def test_masking_draws_the_same_whatever_the_default_type_is():
    hide, tokens = Masking(0.3, 1, 50), torch.arange(2, 50).repeat(20)[None]
    single = hide(tokens, torch.Generator().manual_seed(0))
    torch.set_default_dtype(torch.float64)
    try:
        double = hide(tokens, torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(single.tokens, double.tokens) and torch.equal(single.targets, double.targets)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Windows(TOKENS, 0, 1), r"length \(0\) must be positive"),
        (lambda: Windows(TOKENS, 8, 0), r"batch_size \(0\) must be positive"),
        (lambda: Windows(TOKENS[:20], 16, 1), r"tokens \(20\) must hold at least two windows of length \(16\)"),
        (lambda: Windows(TOKENS.float(), 8, 1), r"tokens \(4000,\) torch.float32 must be one row of integers"),
        (lambda: Windows(TOKENS[None], 8, 1), r"tokens \(1, 4000\) torch.int64 must be one row of integers"),
        (lambda: Masking(0, 1, 50), r"rate \(0\) must be above 0 and at most 1"),
        (lambda: Masking(0.1, 50, 50), r"id 50 must be at least 0 and below vocab_size \(50\)"),
        (lambda: Masking(0.1, 1, 50, shares=(0.9, 0.2)), r"shares \(\(0.9, 0.2\)\) must not be negative"),
    ],
)
def test_windows_and_masks_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_head_at_masked_positions_gives_the_same_loss():
    torch.manual_seed(0)
    bert = BERT(BERTConfig(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_layers=1)).double().eval()
    batch = next(iter(MaskedTokens(Windows(TOKENS, 16, 4), Masking(0.3, 1, 50))))
    assert torch.allclose(cross_entropy(bert, batch), masked_cross_entropy(bert, batch), atol=1e-10, rtol=0)


# The loop


def test_a_run_learns_notes_and_evaluates():
    trained = model()
    batch = next(batches().starting_at(500))
    settings = config(steps=60, optimizer=AdamW(lr=2e-2), schedule=Cosine(warmup_steps=5))
    records = train(trained, batches(), settings, evaluate=lambda m: {"held_out": cross_entropy(m, batch).item() / 64})
    steps, losses = records.curve("loss")
    assert steps == list(range(1, 61)) and losses[-1] < losses[0] / 2
    held_out = records.curve("held_out")
    assert held_out[0] == list(range(0, 61, 3)) and held_out[1][0] > 3.5 > 2.0 > held_out[1][-1]
    assert records.targets == 60 * 64 and not trained.training
    assert records.plot("loss", "held_out", levels={"uniform": math.log(50)}).axes
    with pytest.raises(ValueError, match=r"name \('los'\) must be one of .*held_out.*loss"):
        records.curve("los")


@pytest.mark.parametrize("settings", [{}, {"recompute": True}, {"optimizer": Muon()}])
def test_accumulation_and_recomputation_change_nothing(settings):
    whole, cut = model().double(), model().double()
    train(whole, batches(8), config(optimizer=settings.get("optimizer", AdamW())))
    halves = [
        Batch(b.tokens[at : at + 4], b.targets[at : at + 4])
        for b, _ in zip(batches(8), range(6), strict=False)
        for at in (0, 4)
    ]
    train(cut, halves, config(accumulate=2, **settings))
    assert torch.allclose(weights(whole), weights(cut), atol=1e-10 if "optimizer" not in settings else 1e-3, rtol=0)


def test_recomputation_changes_nothing_in_encoder_and_decoder():
    plain, again, seen = translator(), translator(), []
    train(plain, batches(), config(), loss=translation_loss)

    def loss(m, batch):
        seen.extend("forward" in vars(block) for block in (*m.encoder.blocks, *m.decoder.blocks))
        return translation_loss(m, batch)

    train(again, batches(), config(recompute=True), loss=loss)
    assert torch.allclose(weights(plain), weights(again), atol=1e-12, rtol=0) and seen == [True] * 3 * 6
    assert not any("forward" in vars(block) for block in (*again.encoder.blocks, *again.decoder.blocks))


def test_one_batch_of_a_step_is_moved_to_the_device_at_a_time(monkeypatch):
    moved, seen = engine._moved, []
    monkeypatch.setattr(engine, "_moved", lambda *given: seen.append("moved") or moved(*given))
    train(
        model(), batches(), config(steps=2, accumulate=3), loss=lambda m, b: seen.append("read") or cross_entropy(m, b)
    )
    assert seen == ["moved", "read"] * 6


def test_batches_with_different_numbers_of_targets_count_by_targets():
    whole, cut = model().double(), model().double()
    rows = next(iter(batches(4)))
    targets = rows.targets.clone()
    targets[2:, 3:] = -100  # the second half asks for less
    train(whole, [Batch(rows.tokens, targets)] * 3, config(steps=3))
    halves = [Batch(rows.tokens[at : at + 2], targets[at : at + 2]) for at in (0, 2)] * 3
    train(cut, halves, config(steps=3, accumulate=2))
    assert torch.allclose(weights(whole), weights(cut), atol=1e-12, rtol=0)


def test_evaluation_does_not_change_the_run():
    plain, looked_at = model(dropout=0.2), model(dropout=0.2)
    train(plain, batches(), config())
    train(
        looked_at, batches(), config(eval_every=1), evaluate=lambda m: {"noise": torch.rand(1).item() + random.random()}
    )
    assert torch.equal(weights(plain), weights(looked_at))


def test_a_long_gradient_is_shortened_and_the_rate_follows_the_schedule():
    records = train(model(), batches(), config(schedule=Cosine(warmup_steps=2), clip_norm=1e-3))
    assert [round(row["lr_factor"], 4) for row in records.rows[:3]] == [0.3333, round(2 / 3 * 0.933, 4), 0.75]
    still = model()
    train(still, batches(), config(clip_norm=1e-12, optimizer=AdamW(weight_decay=0, eps=1.0)))
    assert (weights(still) - weights(model())).abs().max() < 1e-9


def test_the_mean_of_the_weights_is_evaluated_and_kept():
    seen, trained, last = [], model(), model()
    train(trained, batches(), config(average=0.5, eval_every=100), evaluate=lambda m: seen.append(weights(m)) or {})
    assert torch.equal(seen[-1], weights(trained))
    expected, steps = weights(model()), []
    train(last, batches(), config(eval_every=1), evaluate=lambda m: steps.append(weights(m)) or {})
    for now in steps[1:]:
        expected = expected.lerp(now, 0.5)
    assert torch.allclose(expected, weights(trained), atol=1e-7)


@pytest.mark.parametrize("optimizer", [AdamW(), lambda m: 1 / 0])
def test_random_numbers_of_whoever_trains_are_left_where_they_were(optimizer):
    torch.manual_seed(5), random.seed(5)
    expected = torch.rand(3).tolist(), random.random()
    trained = model(dropout=0.2)
    torch.manual_seed(5), random.seed(5)
    try:
        train(trained, batches(), config(optimizer=optimizer))
    except ZeroDivisionError:
        pass
    assert (torch.rand(3).tolist(), random.random()) == expected


def test_seconds_end_a_run():
    records = train(model(), batches(), config(steps=None, seconds=0.3))
    assert 0.3 <= records.seconds < 2 and records.step > 1
    assert 0 < records.loading_share < 0.5 and records.targets_per_second > 0


def test_batches_of_all_kinds_are_read():
    listed = [batch for batch, _ in zip(batches(), range(6), strict=False)]
    from_list, from_generator = model(), model()
    train(from_list, listed, config())
    train(from_generator, iter(listed), config())
    assert torch.equal(weights(from_list), weights(from_generator))


class Ends:
    """Batches that could go on from any place, but end."""

    def starting_at(self, number):
        return islice(batches().starting_at(number), 3)

    def __iter__(self):
        return self.starting_at(0)


class Exhausted:
    """Batches that claim to be readable again, and are not."""

    def __init__(self):
        self.rest = islice(batches(), 5)

    def __iter__(self):
        return self.rest


def test_a_list_that_ends_begins_anew(tmp_path):
    listed = list(islice(batches(), 4))
    long, short = model(dropout=0.1), model(dropout=0.1)
    train(long, listed * 3, config(accumulate=2))  # 12 batches, in 6 steps
    train(short, listed, config(accumulate=2))
    assert torch.equal(weights(long), weights(short))

    @functools.wraps(cross_entropy)
    def stopped(m, batch):
        stopped.calls += 1
        if stopped.calls == 10:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(m, batch)

    stopped.calls = 0
    again = model(dropout=0.1)
    assert train(again, listed, config(accumulate=2), loss=stopped, folder=tmp_path).step == 5
    train(again, listed, config(accumulate=2), folder=tmp_path)  # in the middle of the third time
    assert torch.equal(weights(long), weights(again))


@pytest.mark.parametrize(
    "given, message",
    [
        ([], r"batches ended after step 0, before the run did, and cannot begin anew: give a list of at least one"),
        (islice(batches(), 4), "batches ended after step 4, before the run did, and cannot begin anew: give a list"),
        (Ends(), "batches ended after step 3, before the run did, and cannot begin anew"),
        (Exhausted(), "batches ended after step 4, before the run did, and cannot begin anew"),
        ([(TOKENS[None], TOKENS[None])], "batches yielded a tuple, not a named tuple with a field targets"),
        ([Batch(TOKENS[None, :8], torch.full((1, 8), -100))], "the batch of step 0 asks for nothing"),
    ],
)
def test_batches_that_cannot_be_learned_from_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        train(model(), given, config())


def changed(**parts):
    return next(iter(batches()))._replace(**parts)


@pytest.mark.parametrize("loss", [cross_entropy, masked_cross_entropy])
@pytest.mark.parametrize(
    "given, message",
    [
        (changed(tokens=TOKENS[:64].view(4, 16).double()), r"tokens \(4, 16\) torch.float64 must be integers of shape"),
        (
            changed(tokens=TOKENS[:64].view(4, 16) + 1),
            "tokens holds the id 50, ids go from 0 to vocab_size - 1 = 49; is",
        ),
        (changed(tokens=TOKENS[:128].view(4, 32)), "tokens has 32 positions, max_seq_len is 16"),
        (changed(targets=TOKENS[:64].view(4, 16) + 1), "targets holds the id 50, ids go from 0 to vocab_size - 1 = 49"),
        (changed(targets=TOKENS[:64].view(4, 16) - 1), "targets holds the id -1, ids go from 0 to vocab_size - 1 = 49"),
        (
            changed(targets=TOKENS[:64].view(4, 16).int()),
            r"targets \(4, 16\) torch.int32 must be int64 of shape \(4, 16\)",
        ),
        (changed(targets=TOKENS[:64].view(4, 16).double()), r"targets \(4, 16\) torch.float64 must be int64 of shape"),
        (changed(targets=TOKENS[:60].view(4, 15)), r"targets \(4, 15\) torch.int64 must be int64 of shape \(4, 16\)"),
        (changed(mask=torch.ones(4, 16)), "mask has dtype torch.float32, it must be boolean"),
        (changed(mask=torch.ones(4, 15, dtype=torch.bool)), r"mask \(4, 15\) must have the shape \(B, S\) = \(4, 16\)"),
    ],
)
def test_batches_that_the_model_cannot_read_are_refused(given, message, loss, unchecked):
    with pytest.raises(ValueError, match=message):
        train(model(), [given], config(), loss=loss)


def test_a_tokenizer_of_another_model_is_noticed():
    texts = ["a text of which a tokenizer learns more tokens than this model has"] * 3
    tokenizer = BPETokenizer.train(texts, 262)
    row = torch.tensor([id for text in texts * 9 for id in tokenizer.encode(text)])
    with pytest.raises(ValueError, match=r"tokens holds the id \d+, ids go .* = 49; is it another tokenizer's"):
        train(model(), NextToken(Windows(row, 16, 2)), config())


@pytest.mark.parametrize("row", [torch.zeros(0, dtype=torch.int16), torch.tensor([0, 0]), TOKENS[:32]])
def test_no_text_and_texts_shorter_than_a_window_are_refused(row):
    with pytest.raises(ValueError, match=rf"tokens \({len(row)}\) must hold at least two windows of length \(16\)"):
        NextToken(Windows(row, 16, 2))


def test_nan_in_the_data_is_named():
    from typing import NamedTuple

    class Numbers(NamedTuple):
        features: torch.Tensor
        targets: torch.Tensor

    bad = Numbers(torch.tensor([[1.0, math.nan]]), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="features of a batch holds NaN or infinity"):
        train(nn.Linear(2, 1), [bad], config(), loss=lambda m, b: m(b.features).sum())


def test_a_loss_that_is_no_number_names_step_and_layer():
    class Breaks(nn.Module):
        calls = 0

        def forward(self, x):
            Breaks.calls += 1
            return x * math.inf if Breaks.calls > 2 else x

    broken = model()
    broken.blocks[1].feed_forward.activation = Breaks()
    before = []
    with pytest.raises(
        FloatingPointError, match=r"the loss of step 2 is nan: blocks.1.feed_forward.activation is the first layer"
    ):
        train(broken, batches(), config(eval_every=1), evaluate=lambda m: before.append(weights(m)) or {})
    assert weights(broken).isfinite().all()


def test_a_weight_and_a_gradient_that_are_no_numbers_are_named():
    broken = model()
    with torch.no_grad():
        broken.blocks[0].norm1.weight[0] = math.nan
    with pytest.raises(FloatingPointError, match="the loss of step 0 is nan: blocks.0.norm1.weight holds NaN"):
        train(broken, batches(), config())

    def loss(m, batch):
        return cross_entropy(m, batch) + (m.token_embedding.weight[0, 0] * 0).sqrt()

    with pytest.raises(FloatingPointError, match=r"step 0 is 3.9\d*: but the gradient of token_embedding.weight holds"):
        train(model(), batches(), config(), loss=loss)
    with pytest.raises(FloatingPointError, match="the layers' results are finite, the loss computed from them is not"):
        train(model(), batches(), config(), loss=lambda m, batch: cross_entropy(m, batch) * math.inf)
    with pytest.raises(FloatingPointError, match="is 3.9.*e.300: but its gradient is too long for its type"):
        train(model(), batches(), config(), loss=lambda m, batch: cross_entropy(m, batch) * 1e300)


def test_lines_of_text_say_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_make", progress.Lines)
    train(model(), batches(), config(steps=2))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(" 50%, ") and "loss 3." in lines[0] and len(lines) == 2


# Stopping and going on


def test_an_interrupted_run_goes_on_to_the_bit(tmp_path):
    whole, parts = model(dropout=0.1), model(dropout=0.1)
    settings = config(steps=9, average=0.9, optimizer=Muon(), save_every=2)
    expected = train(whole, batches(), settings, folder=tmp_path / "a")

    @functools.wraps(cross_entropy)
    def interrupted(m, batch):
        interrupted.calls += 1
        if interrupted.calls == 5:
            signal.raise_signal(signal.SIGINT)  # in the middle of the fifth step
        return cross_entropy(m, batch)

    interrupted.calls = 0
    first = train(parts, batches(), settings, loss=interrupted, folder=tmp_path / "b")
    assert first.stopped and first.step == 5
    parts = model(seed=3, dropout=0.1)  # whatever stands in the model is replaced
    random.random(), torch.rand(5)
    second = train(parts, batches(), settings, folder=tmp_path / "b")
    assert not second.stopped and torch.equal(weights(whole), weights(parts))
    assert expected.curve("loss") == second.curve("loss")
    assert train(parts, batches(), settings, folder=tmp_path / "b").rows == second.rows  # nothing is left to do


def test_a_second_interrupt_ends_at_once(tmp_path):
    before = signal.getsignal(signal.SIGINT)  # where a shell starts the tests in the background it is none of Python's

    def impatient(m, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(model(), batches(), config(), loss=impatient, folder=tmp_path)
    assert not (tmp_path / state.FILE).exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("save_every", [3, 4, None])
def test_the_last_evaluation_is_there_whenever_states_are_saved(save_every, tmp_path):
    settings = config(save_every=save_every)
    for _ in range(2):
        records = train(model(), batches(), settings, evaluate=lambda m: {"seen": 1}, folder=tmp_path)
        assert records.curve("seen")[0] == [0, 3, 6] and records.finished


@pytest.mark.parametrize("recipe", [AdamW(), Muon(), lambda m: [torch.optim.SGD(m.parameters(), lr=0.1)]])
def test_heads_that_are_not_used_and_optimizers_without_memory_go_on_too(recipe, tmp_path):
    @functools.wraps(masked_cross_entropy)
    def stopped(m, batch):
        signal.raise_signal(signal.SIGINT)
        return masked_cross_entropy(m, batch)

    whole, parts, settings = bert(), bert(), config(optimizer=recipe)
    train(whole, masked(), settings, loss=masked_cross_entropy, folder=tmp_path / "a")
    assert train(parts, masked(), settings, loss=stopped, folder=tmp_path / "b").step == 1
    train(parts, masked(), settings, loss=masked_cross_entropy, folder=tmp_path / "b")
    assert torch.equal(weights(whole), weights(parts))


def test_numbers_of_numpy_do_not_spoil_the_state(tmp_path):
    settings = config(steps=4, save_every=2, optimizer=AdamW(lr=np.logspace(-3, -2, 3)[1]))
    for _ in range(2):
        records = train(model(), batches(), settings, evaluate=lambda m: {"v": np.float64(1)}, folder=tmp_path)
        assert records.curve("v") == ([0, 3, 4], [1.0, 1.0, 1.0])


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path):
    (tmp_path / f".{state.FILE}.0123").write_bytes(b"half")
    train(model(), batches(), config(), folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [state.LOCK, state.FILE]


def test_gradients_that_were_there_before_are_not_used():
    plain, used = model(), model()
    cross_entropy(used, next(iter(batches()))).backward()
    train(plain, batches(), config()), train(used, batches(), config())
    assert torch.equal(weights(plain), weights(used)) and all(p.grad is None for p in used.parameters())


def test_a_failed_run_leaves_a_model_that_can_be_used():
    def fails(m):
        raise RuntimeError("no")

    failed = model()
    with pytest.raises(RuntimeError, match="no"):
        train(failed, batches(), config(recompute=True), evaluate=fails)
    assert not failed.training and "forward" not in vars(failed.blocks[0])


@pytest.mark.parametrize(
    "values, message",
    [
        (1.0, "evaluate returned a float, it must return a dict"),
        ({"loss": 1.0}, "evaluate returned 'loss', a name that"),
    ],
)
def test_what_an_evaluation_may_not_return_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        train(model(), batches(), config(), evaluate=lambda m: values)


def test_batches_that_can_be_read_once_cannot_go_on(tmp_path):
    @functools.wraps(cross_entropy)
    def stopped(m, batch):
        signal.raise_signal(signal.SIGINT)
        return cross_entropy(m, batch)

    train(model(), batches(), config(), loss=stopped, folder=tmp_path)
    once = iter(batches())
    with pytest.raises(
        ValueError, match=r"batches \(generator\) can be read only once, and this run goes on after step 1"
    ):
        train(model(), once, config(), folder=tmp_path)


def test_random_numbers_of_an_apple_gpu_go_on_too(tmp_path, monkeypatch):
    """No such GPU is here: a stand-in holds the numbers of its generator."""
    numbers = torch.zeros(2, dtype=torch.uint8)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: numbers.clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", numbers.copy_)
    drawn = []

    @functools.wraps(cross_entropy)
    def draws(m, batch):
        numbers.add_(1)
        drawn.append(numbers[0].item())
        if drawn[-1] == 2:
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(m, batch)

    def looks(m):
        numbers.add_(50)
        return {}

    train(model(), batches(), config(), loss=draws, evaluate=looks, folder=tmp_path)
    assert numbers.tolist() == [0, 0]  # of whoever trains
    train(model(), batches(), config(), loss=draws, evaluate=looks, folder=tmp_path)
    assert drawn == [1, 2, 3, 4, 5, 6] and numbers.tolist() == [0, 0]


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_training import batches, model, config, weights
from llmguide_lib.training import train
import hashlib, time
slow = batches(16)
class Slow:
    def starting_at(self, number):
        for batch in slow.starting_at(number):
            time.sleep(0.01)
            yield batch
trained = model(dropout=0.1)
train(trained, Slow(), config(steps=40, save_every=1), folder=sys.argv[1])
print(hashlib.sha256(weights(trained).numpy().tobytes()).hexdigest())
"""


def killed_runs(folder, kills, seed):
    """Runs a training that is killed so often at random moments; how often it really was, and its hash in the end."""
    source = KILLED.format(tests=str(ROOT / "tests"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    drawn, done = random.Random(seed), 0
    while True:
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", source, str(folder)], env=environment, stdout=subprocess.PIPE
        )
        if done < kills:
            before = stamp(folder / state.FILE)
            while run.poll() is None and stamp(folder / state.FILE) == before:
                time.sleep(0.002)  # until it has got further than the last one
            time.sleep(drawn.random() * 0.1)  # a step with its save takes a tenth of that
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
                run.communicate()
                done += 1
                continue
        return done, run.communicate()[0].decode().strip()


def stamp(path):
    return path.stat().st_mtime_ns if path.exists() else None


def test_a_killed_run_goes_on_to_the_bit(tmp_path):
    assert killed_runs(tmp_path / "whole", 0, 0) == (0, (whole := killed_runs(tmp_path / "again", 0, 0)[1]))
    assert killed_runs(tmp_path / "killed", 3, 1) == (3, whole)


def kills_survived(folder, wanted):
    """Kills runs until it was done so often; how often that was, if each of them ended as if nothing had happened."""
    whole, kills = killed_runs(folder / "whole", 0, 0)[1], 0
    for attempt in range(wanted):
        done, result = killed_runs(folder / f"killed{attempt}", 5, attempt)
        assert result == whole, f"after {done} kills (attempt {attempt}) the weights are others"
        kills += done
        if kills >= wanted:
            break
    return kills


@pytest.mark.slow
def test_a_run_survives_twenty_kills(tmp_path):
    assert kills_survived(tmp_path, 20) >= 20


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    def nested(m):
        with pytest.raises(ValueError, match="is in use by another run that is still going on"):
            train(model(), batches(), config(), folder=tmp_path)
        return {}

    train(model(), batches(), config(eval_every=100), evaluate=nested, folder=tmp_path)


@pytest.mark.parametrize(
    "other, message",
    [
        (dict(config=config(steps=7)), "holds another run: its steps is 6, now it is 7"),
        (dict(config=config(optimizer=AdamW(lr=1e-4))), "holds another run: its optimizer is AdamW"),
        (dict(trained=BERT(BERTConfig(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_layers=2))),
         "holds another run: its model is GPT"),
        (dict(batches=batches(seed=1)), r"another run: its first batch is NextToken \w+, now it is NextToken \w+"),
        (dict(batches=NextToken(Windows(TOKENS + 1, 16, 4))), "holds another run: its first batch is NextToken"),
        (dict(batches=list(islice(batches(), 6))), r"its first batch is NextToken \w+, now it is list"),
        (dict(loss=masked_cross_entropy), "another run: its loss is cross_entropy, now it is masked_cross_entropy"),
        (dict(loss=functools.partial(cross_entropy)), r"its loss is cross_entropy, now it is functools.partial\(<f"),
    ],
)  # fmt: skip
def test_the_folder_of_another_run_is_refused(tmp_path, other, message):
    train(model(), batches(), config(), folder=tmp_path)
    with pytest.raises(ValueError, match=message):
        train(
            other.get("trained", model()),
            other.get("batches", batches()),
            other.get("config", config()),
            loss=other.get("loss", cross_entropy),
            folder=tmp_path,
        )


def test_a_run_goes_on_when_it_shall_only_look_or_save_at_other_times(tmp_path):
    def stopped(m, batch):
        signal.raise_signal(signal.SIGINT)
        return cross_entropy(m, batch)

    whole, parts, other = model(), model(), config(log_every=3, eval_every=None, save_every=1)
    train(whole, batches(), config())
    loss = functools.partial(functools.wraps(cross_entropy)(stopped))  # its text holds an address
    assert train(parts, batches(), config(), loss=loss, folder=tmp_path).step == 1
    loss = functools.partial(functools.wraps(cross_entropy)(lambda m, batch: cross_entropy(m, batch)))
    assert train(parts, batches(), other, loss=loss, folder=tmp_path).curve("loss")[0] == [1, 3, 6]
    assert torch.equal(weights(whole), weights(parts))


def test_a_damaged_state_is_refused(tmp_path):
    train(model(), batches(), config(), folder=tmp_path)
    path = tmp_path / state.FILE
    for damage in (path.read_bytes()[:-10], path.read_bytes()[:-10] + b"0123456789", b""):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="is damaged: its hash differs; delete it to begin anew"):
            train(model(), batches(), config(), folder=tmp_path)


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    train(model(), batches(), config(steps=4, save_every=2), folder=tmp_path)
    good = (tmp_path / state.FILE).read_bytes()
    (tmp_path / state.FILE).write_bytes(good)

    def full(path, chunks):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_atomically", full)
        (tmp_path / state.FILE).unlink()
        with pytest.raises(OSError, match="the state after step 2 could not be saved"):
            train(model(), batches(), config(steps=4, save_every=2), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [state.LOCK]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"folder \(.*file.runs\) cannot be written to"):
        train(model(), batches(), config(), folder=tmp_path / "file" / "runs")


# Many processes

TOGETHER = """
import sys, json, torch
sys.path.insert(0, {tests!r})
from test_training import trained_together
from llmguide_lib import runtime
torch.set_default_dtype(torch.float64)
with runtime.processes() as rank:
    curves = trained_together(*sys.argv[1:])
    if rank == 0:
        print(json.dumps(curves))
"""
FAMILIES = {"gpt": (model, batches, cross_entropy), "bert": (bert, masked, masked_cross_entropy)}


def trained_together(family, how, folder=None):
    """The losses, those on held-out text, and what the model is in the end: whole, whoever trained it."""
    make, data, loss = FAMILIES[family]
    trained, held_out, other_rank = make(), next(data(4).starting_at(500)), parallel.Workers.here().rank
    kind, before = type(trained), weights(trained)

    def evaluate(m):
        assert m is trained and not m.training
        if other_rank:
            return {"held_out": 0.0}  # nobody waits for the others while the model is looked at
        return {"held_out": loss(m, held_out).item()}

    settings = config(accumulate=2, save_every=3, average=0.5, distribute=getattr(parallel, how))
    records = train(trained, data(4), settings, loss=loss, evaluate=evaluate, folder=folder)
    assert type(trained) is kind and {type(p) for p in trained.parameters()} == {nn.Parameter}
    assert not torch.equal(before, weights(trained))
    return [*records.curve("loss")[1], *records.curve("held_out")[1], loss(trained, held_out).item()]


def together(processes, family, how, folder):
    source = folder.parent / "together.py"
    source.write_text(TOGETHER.format(tests=str(ROOT / "tests")), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    line = [sys.executable, "-W", "ignore", *launcher, str(source), family, how, str(folder)]
    done = subprocess.run(line, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", FAMILIES)  # of BERT the loss uses neither pooler nor head for sentences
@pytest.mark.parametrize("how", ["replicate", "shard"])
def test_two_processes_give_the_curve_of_one_and_states_move_between_them(family, how, tmp_path):
    alone = trained_together(family, how)
    assert together(2, family, how, tmp_path / "two") == pytest.approx(alone, abs=1e-9)
    if family == "gpt":  # the state of two, read by one
        assert together(1, family, how, tmp_path / "two") == pytest.approx(alone, abs=1e-9)


def test_more_processes_than_rows_are_refused():
    with pytest.raises(ValueError, match="a batch of 1 rows cannot be shared by 2 processes"):
        parallel.Workers(0, 2).share(Batch(TOKENS[None, :4], TOKENS[None, :4]))
    first, second = (parallel.Workers(rank, 2).share(next(iter(batches(3)))) for rank in (0, 1))
    assert (len(first.tokens), len(second.tokens)) == (2, 1)


def test_the_readme_trains_something(tmp_path, monkeypatch):
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Training something")[1].split("\n## ")[0]
    code = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    code = code.replace("seconds=60", "seconds=1").replace('"train")', '"train", ["jinja2"])')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMGUIDE_CACHE", str(tmp_path / "cache"))
    torch.set_default_dtype(torch.float32)
    exec(compile(code, "README.md", "exec"), names := {})
    assert names["records"].seconds >= 1 and (tmp_path / "runs" / "first" / state.FILE).exists()

"""Generation: filters by hand, samplers by chi-square, greedy and beam search against Hugging Face and brute force."""

import itertools
import math
import random

import pytest
import torch
from torch import nn

from llmguide_lib.attention import KVCache
from llmguide_lib.generation import (
    Conditioned,
    Greedy,
    MinP,
    RepetitionPenalty,
    Sample,
    StopStrings,
    StopTokens,
    Temperature,
    TopK,
    TopP,
    beam_search,
    generate,
    left_padded,
    stream,
)
from llmguide_lib.models import GPT, GPTConfig, Llama, LlamaConfig, Seq2SeqConfig, Seq2SeqTransformer

SIZES = {"vocab_size": 23, "max_seq_len": 40, "d_model": 16, "num_heads": 4}
LOG = torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]]).log()
NONE = torch.zeros(1, 0, dtype=torch.long)


def loud(model, std=0.3):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model.eval()


def gpt():
    return loud(GPT(GPTConfig(**SIZES, num_layers=2)))


def llama():
    return loud(Llama(LlamaConfig(**SIZES, num_layers=2, d_ff=24, num_kv_heads=2)))


def seq2seq():
    model = loud(Seq2SeqTransformer(Seq2SeqConfig(**SIZES, num_encoder_layers=1, num_decoder_layers=2)))
    return Conditioned(model, torch.randint(0, 23, (3, 6)), torch.arange(6) < torch.tensor([[6], [4], [2]]))


MODELS = [gpt, llama, seq2seq]


def kept(keep, tokens=NONE, logits=LOG):
    return keep(logits, tokens).isfinite()[0].tolist()


# -- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "places"),
    [
        (TopK(2), 2),
        (TopK(99), 5),
        (TopP(0.5), 1),  # the first alone has it
        (TopP(0.51), 2),
        (TopP(0.9), 3),
        (TopP(1.0), 5),
        (TopP(1e-9), 1),
        (MinP(0.5), 2),
        (MinP(0.3), 3),
        (MinP(1.0), 1),
    ],
)
def test_a_filter_keeps_the_right_tokens_whatever_their_order(keep, places):
    assert kept(keep) == [True] * places + [False] * (5 - places)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert kept(keep, logits=LOG[:, order]) == [place < places for place in order.tolist()]


def test_top_k_keeps_ties():
    assert kept(TopK(2), logits=torch.tensor([[1.0, 3.0, 1.0, 0.0]])) == [True, True, True, False]


def test_temperature_changes_the_sharpness():
    halved = Temperature(0.5)(LOG, NONE).softmax(-1)
    torch.testing.assert_close(halved, (LOG.exp() ** 2) / (LOG.exp() ** 2).sum())


def test_the_repetition_penalty_lowers_positive_and_negative_scores():
    logits = torch.tensor([[2.0, -2.0, 2.0]])
    assert RepetitionPenalty(2.0)(logits, torch.tensor([[0, 1, 0]])).tolist() == [[1.0, -4.0, 2.0]]


def test_filters_work_in_the_order_given():
    flat_first = Sample(Temperature(100.0), TopP(0.5), seed=0)
    sharp_first = Sample(TopP(0.5), Temperature(100.0), seed=0)
    drawn = [{int(sampler(LOG, NONE)) for _ in range(60)} for sampler in (flat_first, sharp_first)]
    assert len(drawn[0]) == 3 and drawn[1] == {0}


# -- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Sample(seed=1), [0.5, 0.25, 0.15, 0.07, 0.03]),
        (Sample(TopK(3), seed=2), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0, 0]),
        (Sample(Temperature(2.0), seed=3), [p**0.5 for p in (0.5, 0.25, 0.15, 0.07, 0.03)]),
        (Sample(MinP(0.4), seed=4), [2 / 3, 1 / 3, 0, 0, 0]),
    ],
)
def test_draws_follow_the_distribution(sampler, expected):
    """Chi-square over 20,000 draws with a fixed seed; another seed would fail by chance once in 10,000 runs."""
    draws = sampler(LOG.expand(20_000, 5), NONE.expand(20_000, 0))
    counts = torch.bincount(draws, minlength=5).double()
    wanted = torch.tensor(expected, dtype=torch.double) / sum(expected) * 20_000
    possible = wanted > 0
    assert counts[~possible].eq(0).all()
    distance = ((counts - wanted) ** 2 / wanted)[possible].sum()
    limits = {1: 15.14, 2: 18.42, 4: 23.51}  # the 0.9999 quantiles of chi-square, by degrees of freedom
    assert distance < limits[int(possible.sum()) - 1]


def test_a_seed_repeats_and_no_seed_follows_torch():
    model, tokens = gpt(), torch.zeros(2, 1, dtype=torch.long)
    first, again, other = (generate(model, tokens, 12, sampler=Sample(seed=seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(3)
    first = generate(model, tokens, 12, sampler=Sample())
    torch.manual_seed(3)
    assert torch.equal(first, generate(model, tokens, 12, sampler=Sample()))


def test_a_filter_of_ones_own_constrains_the_output():
    def even(logits, tokens):
        return logits.masked_fill(torch.arange(23) % 2 == 1, -torch.inf)

    for sampler in (Greedy(even), Sample(even, seed=0)):
        assert generate(gpt(), torch.tensor([[1]]), 20, sampler=sampler)[0, 1:].remainder(2).eq(0).all()


# -- token by token ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MODELS)
def test_with_a_cache_or_without_the_text_is_the_same(make):
    model, tokens = make(), torch.randint(0, 23, (3, 4))
    cached, uncached = (generate(model, tokens, 15, cache=cache) for cache in (True, False))
    assert torch.equal(cached, uncached) and cached.shape == (3, 19)


@pytest.mark.parametrize("make", MODELS)
def test_a_batch_of_different_lengths_is_its_texts_one_by_one(make):
    model, texts = make(), [[3, 1, 4, 1, 5], [9, 2], [6]]
    tokens, mask = left_padded(texts, pad_id=7)
    together = generate(model, tokens, 10, mask=mask)[:, 5:]
    for row, text in enumerate(texts):
        one = model.select(torch.tensor([row])) if isinstance(model, Conditioned) else model
        assert torch.equal(generate(one, torch.tensor([text]), 10)[0, len(text) :], together[row])


def test_a_penalty_does_not_take_filling_for_text():
    model, texts = gpt(), [[3, 1, 4, 1, 5], [9, 2]]
    tokens, mask = left_padded(texts, pad_id=int(generate(gpt(), torch.tensor([[9, 2]]), 1)[0, -1]))
    together = generate(model, tokens, 12, mask=mask, sampler=Greedy(RepetitionPenalty(3.0)))
    alone = generate(model, torch.tensor([[9, 2]]), 12, sampler=Greedy(RepetitionPenalty(3.0)))
    assert torch.equal(together[1, 5:], alone[0, 2:])


def test_half_precision_generates_with_a_cache():
    torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert generate(llama(), torch.tensor([[1, 2]]), 5).shape == (1, 7)
    model = seq2seq()
    model.model.bfloat16()
    narrow = Conditioned(model.model, torch.randint(0, 23, (1, 4)))
    assert generate(narrow, torch.tensor([[1]]), 5).shape == (1, 6) and not narrow.encoded.requires_grad


def test_streaming_gives_the_same_tokens_as_they_come():
    model, tokens = gpt(), torch.randint(0, 23, (2, 3))
    steps = stream(model, tokens, 6)
    first = next(steps)
    assert torch.equal(torch.stack([first, *steps], dim=1), generate(model, tokens, 6)[:, 3:])


def test_a_text_that_has_ended_is_filled_up_and_the_last_end_ends_all():
    model, tokens = gpt(), torch.randint(0, 23, (4, 3))
    free = generate(model, tokens, 20)[:, 3:]
    end = int(free[0, 4])
    stopped = generate(model, tokens, 20, stop=StopTokens(end), pad_id=22)[:, 3:]
    for row in range(4):
        ends = (free[row] == end).nonzero().flatten()
        length = int(ends[0]) + 1 if len(ends) else stopped.shape[1]
        assert torch.equal(stopped[row, :length], free[row, :length])
        assert stopped[row, length:].eq(22).all()


def test_a_stop_string_is_found_across_tokens():
    pieces = {place: piece for place, piece in enumerate("a b ab\n \n c".split(" "))}
    decode = lambda ids: "".join(pieces.get(one, "x") for one in ids)  # noqa: E731
    stop = StopStrings(decode, ["\n\n", "bc"])
    assert stop(torch.tensor([[0, 2, 3], [0, 1, 4], [1, 0, 4], [2, 9, 3]])).tolist() == [True, True, False, False]


def test_a_stop_string_is_found_as_soon_as_its_last_byte_is_there_and_little_is_decoded():
    """Against decoding everything, on random bytes of which characters have up to four."""
    lengths, generator = [], random.Random(0)

    def decode(ids):
        lengths.append(len(ids))
        return bytes(ids).decode(errors="replace")

    found = 0
    for _ in range(100):
        text = "".join(generator.choices("aé中🙂", k=40))
        ids, string = list(text.encode()), text[20 : 20 + generator.randint(1, 3)]
        stop = StopStrings(decode, [string])
        for end in range(1, len(ids) + 1):
            completed = string in bytes(ids[:end]).decode(errors="replace")
            assert bool(stop(torch.tensor([ids[:end]]))) == completed
            if completed:
                found += 1
                break
    assert found == 100 and max(lengths) <= 48


# -- against Hugging Face and brute force -----------------------------------------------------------------------------


def hf_twin(model):
    pytest.importorskip("transformers", reason="transformers is not installed (extra: hub)")
    from llmguide_lib.huggingface import to_hf

    twin = to_hf(model)
    twin.generation_config.pad_token_id = 0
    twin.generation_config.bos_token_id = twin.generation_config.eos_token_id = None
    return twin


@pytest.mark.parametrize("make", [gpt, llama])
def test_greedy_is_hugging_faces_token_by_token(make):
    model = make()
    tokens, mask = left_padded([[3, 1, 4, 1, 5], [9, 2], [6]])
    theirs = hf_twin(model).generate(tokens, attention_mask=mask.long(), max_new_tokens=20, do_sample=False)
    assert torch.equal(generate(model, tokens, 20, mask=mask), theirs)


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, 1.0), (4, 1.0), (4, 0.0), (3, 2.0), (5, -1.0)])
@pytest.mark.parametrize("make", [gpt, llama])
def test_beam_search_is_hugging_faces_token_by_token(make, num_beams, length_penalty):
    ended = 0
    for trial in range(4):
        torch.manual_seed(trial)
        model = make()
        tokens = torch.randint(1, 23, (1, 4))
        end = int(generate(model, tokens, 6, sampler=Sample(seed=trial))[0, -1])
        theirs = hf_twin(model).generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=12,
            num_beams=num_beams,
            length_penalty=length_penalty,
            do_sample=False,
            eos_token_id=end,
        )
        ours, _ = beam_search(model, tokens, 12, num_beams=num_beams, length_penalty=length_penalty, end_id=end)
        assert ours.tolist() == theirs[0, : len(ours)].tolist() and theirs[0, len(ours) :].eq(0).all()
        ended += int(ours[-1] == end)
    assert ended > 0 or length_penalty > 1  # the comparison has seen texts that end


def log_probability(model, text, start):
    scores = model(text[None, :-1]).log_softmax(-1)[0]
    return sum(scores[place - 1, text[place]].item() for place in range(start, len(text)))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_enough_beams_find_what_brute_force_finds(length_penalty):
    sizes = {**SIZES, "vocab_size": 4}
    model = loud(Seq2SeqTransformer(Seq2SeqConfig(**sizes, num_encoder_layers=1, num_decoder_layers=1)))
    conditioned = Conditioned(model, torch.tensor([[1, 3, 2]]))
    start, end = torch.tensor([[1]]), 0
    best = max(
        (log_probability(conditioned, torch.tensor([1, *text]), 1) / len(text) ** length_penalty, text)
        for length in range(1, 5)
        for text in itertools.product(range(4), repeat=length)
        if end not in text[:-1] and (text[-1] == end or length == 4)
    )
    text, score = beam_search(conditioned, start, 4, num_beams=64, length_penalty=length_penalty, end_id=end)
    assert text.tolist()[1:] == list(best[1]) and math.isclose(score, best[0], rel_tol=1e-9)


def test_one_beam_is_greedy():
    model, tokens = gpt(), torch.tensor([[5, 6]])
    assert torch.equal(beam_search(model, tokens, 9, num_beams=1)[0], generate(model, tokens, 9)[0])


def test_a_cache_keeps_the_texts_that_are_selected():
    model, tokens = llama(), torch.randint(0, 23, (3, 5))
    cache = KVCache(2, 10)
    model(tokens, cache=cache)
    rows = torch.tensor([2, 0, 2, 1])
    cache.select(rows)
    new = torch.randint(0, 23, (4, 1))
    expected = model(torch.cat([tokens[rows], new], dim=1))[:, -1:]
    torch.testing.assert_close(model(new, cache=cache), expected, atol=1e-12, rtol=0)


# -- bad input --------------------------------------------------------------------------------------------------------


def broken():
    model = gpt()
    model.final_norm.weight.data[0] = float("nan")
    return model


ONE = torch.tensor([[1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Temperature(0), r"temperature \(0\) must be positive; for temperature 0 use Greedy\(\)"),
        (lambda: Temperature(-1.0), r"temperature \(-1.0\) must be positive"),
        (lambda: TopK(0), r"k \(0\) must be positive"),
        (lambda: TopP(0.0), r"p \(0.0\) must be above 0 and at most 1"),
        (lambda: TopP(1.2), r"p \(1.2\) must be above 0 and at most 1"),
        (lambda: MinP(-0.1), r"p \(-0.1\) must be above 0 and at most 1"),
        (lambda: RepetitionPenalty(0.0), r"penalty \(0.0\) must be positive"),
        (lambda: StopStrings(str, []), r"strings \(\[\]\) must be a list of strings"),
        (lambda: StopStrings(str, "end"), r"strings \('end'\) must be a list of strings"),
        (lambda: left_padded([[1], []]), r"texts must hold at least one text, and each at least one token"),
        (lambda: generate(gpt(), ONE, 0), r"max_new_tokens \(0\) must be positive"),
        (lambda: generate(gpt(), ONE, 40), r"max_new_tokens \(40\) must be at most 39: 1 tokens are there"),
        (lambda: generate(gpt(), ONE[:, :0], 1), r"tokens \(1, 0\) must have the shape \(B, T\)"),
        (lambda: generate(gpt().train(), ONE, 1), r"model is in training mode"),
        (lambda: generate(Conditioned(seq2seq().model.train(), ONE), ONE, 1), r"model is in training mode"),
        (lambda: generate(gpt(), ONE.expand(1, 2), 1, mask=torch.tensor([[True, False]])), r"mask must be True for"),
        (lambda: generate(broken(), ONE, 1), r"model gives NaN scores"),
        (lambda: generate(gpt(), ONE, 1, sampler=Greedy(lambda x, t: x - torch.inf)), r"filters left no token"),
        (lambda: beam_search(gpt(), ONE, 1, num_beams=0), r"num_beams \(0\) must be positive"),
        (lambda: beam_search(gpt(), ONE, 0, num_beams=2), r"max_new_tokens \(0\) must be positive"),
        (lambda: beam_search(gpt(), ONE.expand(2, 1), 1, num_beams=2), r"tokens \(2, 1\) must be one text: \(1, T\)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()

"""Evaluation: figures worked by hand, windows against brute force, tests and intervals by their false alarms."""

import itertools
import math
import random
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from llmguide_lib.counting import KneserNey
from llmguide_lib.evaluation import (
    COMPRESSORS,
    accuracy,
    bits_per_byte,
    bleu,
    bootstrap,
    bootstrap_mean,
    chrf,
    compressed_bits_per_byte,
    confusion_matrix,
    counted_bits_per_byte,
    document_nats,
    f1,
    masked_accuracy,
    mcnemar,
    paired_bootstrap,
    paired_permutation,
    perplexity,
    rouge,
    t_interval,
)
from llmguide_lib.models import BERT, GPT, BERTConfig, GPTConfig, Llama, LlamaConfig
from llmguide_lib.objectives import Batch, MaskedTokens, Masking, Windows

SIZES = {"vocab_size": 11, "max_seq_len": 6, "d_model": 8, "num_heads": 2, "num_layers": 2}


class Stub(nn.Module):
    """A model that is a function from tokens to logits, and remembers what it was asked."""

    def __init__(self, logits, max_seq_len=4):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.logits, self.config, self.asked = logits, SimpleNamespace(max_seq_len=max_seq_len), []
        self.eval()

    def forward(self, tokens, mask):
        self.asked.append((tokens, mask))
        return self.logits(tokens)


def uniform(vocab_size, max_seq_len=4):
    return Stub(lambda tokens: torch.zeros(*tokens.shape, vocab_size), max_seq_len)


def by_place(tokens):
    """Token 0 costs a tenth of a nat for every token that stands before it."""
    chance = (-torch.arange(1, tokens.shape[1] + 1) / 10).exp().expand(tokens.shape)
    return torch.stack([chance, 1 - chance], dim=-1).log()


def loud(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def documents(*lengths):
    return [torch.randint(11, (length,)).tolist() for length in lengths]


# -- language ---------------------------------------------------------------------------------------------------------


def test_a_model_that_knows_nothing_chooses_among_all_tokens():
    assert perplexity(uniform(7), [[1, 2, 3], [4]], begin_id=0) == pytest.approx(7)
    assert document_nats(uniform(7), [[1, 2, 3], [4]], 0).tolist() == pytest.approx([3 * math.log(7), math.log(7)])


def test_bits_per_byte_do_not_depend_on_the_tokenizer():
    text = "语言 models"
    in_pairs = lambda text: [256 * a + b for a, b in zip(*[iter(text.encode())] * 2, strict=True)]  # noqa: E731
    assert len(text.encode()) == 13
    assert bits_per_byte(uniform(256), [text, text], lambda text: list(text.encode()), 0) == pytest.approx(8)
    assert bits_per_byte(uniform(256**2), [text + "!"], in_pairs, 0) == pytest.approx(8)
    assert bits_per_byte(uniform(32), [text], lambda text: [0] * 13, 0) == pytest.approx(5)


@pytest.mark.parametrize(
    ("stride", "before"),  # tokens before each of seven, four of which can be read at once
    [
        (1, [1, 2, 3, 4, 4, 4, 4]),
        (2, [1, 2, 3, 4, 3, 4, 4]),
        (3, [1, 2, 3, 4, 2, 3, 4]),
        (4, [1, 2, 3, 4, 2, 3, 4]),  # the last window is moved back
        (None, [1, 2, 3, 4, 3, 4, 4]),
    ],
)
def test_windows_by_hand(stride, before):
    assert document_nats(Stub(by_place), [[0] * 7], 0, stride=stride).item() == pytest.approx(sum(before) / 10)


@pytest.mark.parametrize("make", [lambda: GPT(GPTConfig(**SIZES)), lambda: Llama(LlamaConfig(**SIZES, d_ff=16))])
def test_with_stride_one_every_token_sees_all_that_fits(make):
    model, texts = loud(make()), documents(1, 3, 6, 7, 15)
    for text, nats in zip(texts, document_nats(model, texts, 10, stride=1), strict=True):
        known, expected = [10, *text], 0.0
        for place in range(1, len(known)):
            seen = torch.tensor([known[max(0, place - 6) : place]])
            expected -= model(seen)[0, -1].log_softmax(-1)[known[place]].item()
        assert nats.item() == pytest.approx(expected, abs=1e-10)


def test_how_documents_are_put_together_changes_nothing():
    model, texts = loud(GPT(GPTConfig(**SIZES))), documents(9, 2, 5, 1, 20, 3, 6)
    expected = torch.cat([document_nats(model, [text], 0, stride=2) for text in texts])
    for batch_tokens in (1, 13, 4096):
        torch.testing.assert_close(document_nats(model, texts, 0, stride=2, batch_tokens=batch_tokens), expected)
    backwards = document_nats(model, texts[::-1], 0, stride=2)
    torch.testing.assert_close(backwards.flip(0), expected)


def test_batches_keep_to_their_size_and_hold_little_filling():
    model = uniform(11, max_seq_len=32)
    document_nats(model, documents(*range(1, 33)), 0, batch_tokens=64)
    sizes = [tokens.numel() for tokens, _ in model.asked]
    assert max(sizes) <= 64 and sum(sizes) < 1.2 * sum(range(1, 33))
    assert model.asked[0][1] is not None and model.asked[0][1].sum() == 32 + 31


def test_narrow_scores_are_widened_before_they_are_added_up():
    scores = torch.randn(4, 11).to(torch.bfloat16)
    text = documents(40)[0]
    nats = document_nats(Stub(lambda tokens: scores[tokens % 4], 64), [text], 0)
    expected = scores.float()[torch.tensor([0, *text[:-1]]) % 4].log_softmax(-1).double()
    torch.testing.assert_close(nats[0], -expected[range(40), text].sum(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": []}, "documents must hold at least one document"),
        ({"documents": [[1], [], [2]]}, r"documents\[1\] has no tokens; leave empty documents out"),
        ({"stride": 0}, r"stride \(0\) must be from 1 to max_seq_len \(4\)"),
        ({"stride": 5}, r"stride \(5\) must be from 1 to max_seq_len \(4\)"),
        ({"batch_tokens": 0}, r"batch_tokens \(0\) must be positive"),
        ({"model": uniform(3).train()}, r"model is in training mode.* call model.eval\(\) first"),
        ({"model": Stub(lambda tokens: torch.full((*tokens.shape, 3), torch.nan))}, "model gives NaN scores"),
    ],
)
def test_documents_that_cannot_be_scored_are_named(change, message, unchecked):
    arguments = {"model": uniform(3), "documents": [[1, 2]], "begin_id": 0} | change
    with pytest.raises(ValueError, match=message):
        perplexity(**arguments)


def test_an_empty_text_is_named():
    with pytest.raises(ValueError, match=r"documents\[0\] has no tokens"):
        bits_per_byte(uniform(256), [""], lambda text: list(text.encode()), 0)


def test_masked_accuracy_by_hand():
    always_two = Stub(lambda tokens: torch.tensor([0.0, 0.0, 1.0]).expand(*tokens.shape, 3))
    real = torch.tensor([[True, True, True, False]])
    batches = [
        Batch(torch.tensor([[2, 2, 0, 2]]), torch.tensor([[-100, 2, 0, -100]]), real),
        Batch(torch.tensor([[1, 1, 1, 1]]), torch.tensor([[2, -100, -100, 1]])),
    ]
    assert masked_accuracy(always_two, batches) == 2 / 4
    assert [mask for _, mask in always_two.asked][1] is None and torch.equal(always_two.asked[0][1], real)


def test_masked_accuracy_of_an_encoder_is_that_of_its_predictions():
    model, tokens = loud(BERT(BERTConfig(**SIZES))), torch.randint(10, (600,))
    made = MaskedTokens(Windows(tokens, length=6, batch_size=20), Masking(0.15, 10, 11, shares=(1, 0)))
    batches = list(itertools.islice(made, 4))
    asked = torch.cat([batch.targets for batch in batches])
    found = torch.cat([model(batch.tokens).argmax(-1) for batch in batches])
    expected = (found == asked)[asked != -100].double().mean().item()
    assert masked_accuracy(model, batches) == masked_accuracy(model, itertools.islice(made, 4)) == expected > 0


def test_masked_accuracy_of_nothing_is_refused():
    tokens = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="batches must ask for at least one token: all targets are -100"):
        masked_accuracy(uniform(3), [Batch(tokens, torch.full_like(tokens, -100))])
    with pytest.raises(ValueError, match="model is in training mode"):
        masked_accuracy(uniform(3).train(), [])


# -- classes ----------------------------------------------------------------------------------------------------------

PREDICTED, TRUE = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1]), torch.tensor([0, 0, 0, 1, 1, 2, 2, 1])


def test_measures_of_classes_by_hand():
    assert confusion_matrix(PREDICTED, TRUE).tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 1]]
    assert confusion_matrix(torch.tensor([0]), torch.tensor([1]), 3).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert accuracy(PREDICTED, TRUE) == f1(PREDICTED, TRUE, "micro") == 5 / 8
    assert f1(PREDICTED, TRUE) == pytest.approx((4 / 6 + 4 / 6 + 2 / 4) / 3)
    yes = torch.tensor([1, 1, 1, 0, 0, 0]), torch.tensor([1, 0, 1, 1, 0, 0])
    assert f1(*yes, "binary") == pytest.approx(2 * 2 / (3 + 3))


def test_micro_f1_is_the_accuracy_in_single_precision_too():
    torch.set_default_dtype(torch.float32)
    predicted, true = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0])
    assert f1(predicted, true, "micro") == accuracy(predicted, true) == 1 / 3


def test_classes_that_do_not_occur_do_not_count():
    assert f1(torch.tensor([0, 4]), torch.tensor([0, 4])) == 1
    assert f1(torch.tensor([0, 0]), torch.tensor([0, 0]), "binary") == 0


def test_measures_of_classes_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    for num_classes in (2, 5, 30):
        predicted, true = torch.randint(num_classes, (40,)), torch.randint(num_classes, (40,))
        assert accuracy(predicted, true) == pytest.approx(metrics.accuracy_score(true, predicted))
        for average in ["macro", "micro", "binary"][: 3 if num_classes == 2 else 2]:
            theirs = metrics.f1_score(true, predicted, average=average)
            assert f1(predicted, true, average) == pytest.approx(theirs)
        labels = range(num_classes)
        theirs = metrics.confusion_matrix(true, predicted, labels=labels).tolist()
        assert confusion_matrix(predicted, true, num_classes).tolist() == theirs


@pytest.mark.parametrize(
    ("measure", "arguments", "message"),
    [
        (accuracy, ([], []), r"predictions \(0\) and targets \(0\) must be equally many, at least one"),
        (accuracy, ([1], [1, 2]), r"predictions \(1\) and targets \(2\) must be equally many"),
        (f1, ([1, 2], [1]), r"predictions \(2\) and targets \(1\) must be equally many"),
        (confusion_matrix, ([0, 3], [0, 1], 3), r"class 3 must be at least 0 and below num_classes \(3\)"),
        (confusion_matrix, ([0, -1], [0, 1]), r"class -1 must be at least 0 and below num_classes \(2\)"),
        (f1, ([0], [1], "mean"), r"average \('mean'\) must be one of macro, micro, binary"),
        (f1, ([0], [2], "binary"), r"average \('binary'\) needs the classes 0 and 1, class 2 occurs"),
    ],
)
def test_classes_that_cannot_be_measured_are_named(measure, arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        measure(*(torch.tensor(a, dtype=torch.long) if isinstance(a, list) else a for a in arguments))


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sacrebleu():
    return pytest.importorskip("sacrebleu", reason="sacrebleu is not installed: pip install 'llmguide-lib[evaluation]'")


@pytest.fixture(scope="module")
def rouge_scorer():
    reason = "rouge-score is not installed: pip install 'llmguide-lib[evaluation]'"
    return pytest.importorskip("rouge_score.rouge_scorer", reason=reason)


def test_bleu_by_hand(sacrebleu):
    four_of_five = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert bleu(["a b c d e"], ["a b c d f"]) == pytest.approx(four_of_five)
    assert bleu(["a b c d"], ["a b c d e"]) == pytest.approx(100 * math.exp(1 - 5 / 4))  # too short
    assert bleu(["我们爱学习"], ["我们爱学校"], lang="zh") == pytest.approx(four_of_five)  # every character is a word
    assert bleu(["我们爱学习"], ["我们爱学校"]) == 0


def test_chrf_by_hand(sacrebleu):
    assert chrf(["abc"], ["abd"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert chrf(["我爱你"], ["我爱他"]) == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    # One of one and of two characters; precision 1 and 0, recall 1/2 and 0: F with recall twice as important.
    assert chrf(["a"], ["ab"]) == pytest.approx(100 * 5 * 1 * 0.5 / (4 * 1 + 0.5))


@pytest.mark.parametrize(
    "pair", ["the cat sat/The cat ran.", "学习吧/学习了", "café öl x/café öl y", "用 GPU 吧/用GPU了"]
)
def test_rouge_by_hand(pair, rouge_scorer):
    scores = rouge(*([text] for text in pair.split("/")))
    assert {name: score.item() for name, score in scores.items()} == pytest.approx(
        {"rouge1": 200 / 3, "rouge2": 50, "rougeL": 200 / 3}
    )


def test_rouge_of_ascii_equals_the_package(rouge_scorer):
    letters, generator = "ab AB01_.-'\n ", random.Random(0)
    texts = ["".join(generator.choices(letters, k=30)) for _ in range(40)]
    package, pairs = rouge_scorer.RougeScorer(["rouge2"]), zip(texts[20:], texts[:20], strict=True)
    theirs = [100 * package.score(*pair)["rouge2"].fmeasure for pair in pairs]
    assert rouge(texts[:20], texts[20:])["rouge2"].tolist() == pytest.approx(theirs)


@pytest.mark.parametrize("measure", [bleu, chrf, rouge])
def test_texts_that_cannot_be_compared_are_named(measure):
    for outputs, references in (([], []), (["a"], ["a", "b"])):
        message = rf"outputs \({len(outputs)}\) and references \({len(references)}\) must be equally many"
        with pytest.raises(ValueError, match=message):
            measure(outputs, references)
    with pytest.raises(ValueError, match="outputs and references must be lists of texts, not one text"):
        measure("one text", "one text")


def test_an_unknown_language_is_named():
    with pytest.raises(ValueError, match=r"lang \('de'\) must be one of en, zh"):
        bleu(["a"], ["a"], lang="de")


@pytest.mark.parametrize(
    ("measure", "module", "name"),
    [(bleu, "sacrebleu", "sacrebleu"), (rouge, "rouge_score.rouge_scorer", "rouge-score")],
)
def test_a_missing_package_says_how_to_get_it(measure, module, name, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{name} is not installed; run: pip install 'llmguide-lib\[evaluation\]'"):
        measure(["a"], ["a"])


# -- significance -----------------------------------------------------------------------------------------------------


def test_bootstrap_by_hand():
    two = torch.tensor([0.0, 1.0])  # the means of two draws are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    assert bootstrap_mean(two) == (0.5, 0, 1)
    assert bootstrap_mean(two, level=0.3) == (0.5, 0.5, 0.5)
    assert bootstrap_mean(torch.full((9,), 2.0)) == (2, 2, 2)


def test_the_interval_of_a_mean_is_the_usual_one_for_many_items():
    scores = torch.rand(400)
    reach = 1.96 * scores.std().item() / 20
    value, low, high = bootstrap_mean(scores)
    assert value == pytest.approx(scores.mean().item())
    assert value - low == pytest.approx(reach, rel=0.1) and high - value == pytest.approx(reach, rel=0.1)


def test_bootstrap_takes_any_figure_of_chosen_items():
    words = ["a", "bb", "ccc", "dd"]
    longest = bootstrap(lambda rows: max(len(words[row]) for row in rows), 4)
    assert longest.value == longest.high == 3
    assert longest.low == 2  # at most "a" comes up once in 256 times, at most "bb" once in three


def test_the_seed_decides():
    scores = torch.rand(30)
    assert bootstrap_mean(scores) == bootstrap_mean(scores) != bootstrap_mean(scores, seed=1)
    difference = scores - 0.5
    ps = [paired_permutation(scores, torch.full((30,), 0.5), seed=seed) for seed in (0, 0, 1)]
    assert ps[0] == ps[1] != ps[2]
    ps = [paired_bootstrap(lambda rows: difference[rows].mean(), 30, seed=seed) for seed in (0, 0, 1)]
    assert ps[0] == ps[1] != ps[2]


def simulated(p_value, times=300):
    """p-values where there is nothing to find: 40 items, both systems equally good."""
    return torch.tensor([p_value(torch.randn(40), seed) for seed in range(times)])


@pytest.mark.parametrize(
    "p_value",
    [
        lambda d, seed: paired_bootstrap(lambda rows: d[rows].mean(), 40, num_samples=300, seed=seed),
        lambda d, seed: paired_permutation(d, torch.zeros(40), num_samples=300, seed=seed),
    ],
    ids=["bootstrap", "permutation"],
)
def test_false_alarms_are_as_frequent_as_promised(p_value):
    ps = simulated(p_value)
    for level in (0.05, 0.2, 0.5, 0.8):
        spread = math.sqrt(level * (1 - level) / len(ps))
        assert (ps <= level).double().mean().item() == pytest.approx(level, abs=3.5 * spread)


def test_intervals_hold_the_truth_as_often_as_promised():
    resampled, by_t = [], []
    for seed in range(300):
        scores = torch.rand(40) ** 2  # skewed; its mean is 1/3
        low, high = bootstrap_mean(scores, num_samples=300, seed=seed)[1:]
        resampled.append(low <= 1 / 3 <= high)
        _, low, high = t_interval(torch.randn(3))
        by_t.append(low <= 0 <= high)
    spread = math.sqrt(0.95 * 0.05 / 300)
    assert sum(resampled) / 300 == pytest.approx(0.94, abs=3.5 * spread)  # known to be a little too narrow
    assert sum(by_t) / 300 == pytest.approx(0.95, abs=3.5 * spread)


def test_a_clear_difference_is_found():
    better = torch.randn(60) + 1
    assert paired_bootstrap(lambda rows: better[rows].mean(), 60) == pytest.approx(2 / 2001)
    assert paired_permutation(better, torch.zeros(60)) == pytest.approx(1 / 2001)
    assert paired_permutation(torch.zeros(60), better) == pytest.approx(1 / 2001)


def test_no_difference_at_all_is_no_evidence():
    same = torch.rand(20)
    assert paired_permutation(same, same) == 1
    assert paired_bootstrap(lambda rows: 0.0, 20) == 1


def test_permutation_by_hand():
    # The sum is 0.3; with 12 of the 16 choices of signs it is at least that, four of which round to less.
    p = paired_permutation(torch.tensor([0.1, 0.2, 0.3, -0.3]), torch.zeros(4), num_samples=4000)
    assert p == pytest.approx(12 / 16, abs=0.03)


def test_mcnemar_by_hand():
    def p(first, second):
        right = torch.tensor([True] * first + [False] * second + [True, False])
        other = torch.tensor([False] * first + [True] * second + [True, False])
        return mcnemar(right, other)

    assert p(1, 7) == p(7, 1) == 2 * (1 + 8) / 2**8
    assert p(0, 5) == 2 / 2**5
    assert p(3, 3) == p(0, 0) == 1


def test_the_t_interval_by_the_table():
    for values, bound in (([0.0, 2.0], 12.7062), ([0.0, 1.0, 2.0], 4.30265), ([1.0, 2.0, 3.0, 4.0, 5.0], 2.77645)):
        mean, reach = (values[0] + values[-1]) / 2, bound * torch.tensor(values).std().item() / math.sqrt(len(values))
        assert t_interval(torch.tensor(values)) == pytest.approx((mean, mean - reach, mean + reach), 1e-5)
    many = t_interval(torch.linspace(-1, 1, 2001), level=0.9)
    assert many.high == pytest.approx(1.6456 * torch.linspace(-1, 1, 2001).std().item() / math.sqrt(2001), 1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_mean(torch.rand(1)), r"items \(1\) must be at least two"),
        (lambda: bootstrap_mean(torch.rand(5), num_samples=0), r"num_samples \(0\) must be positive"),
        (lambda: bootstrap_mean(torch.rand(5), level=-0.1), r"level \(-0.1\) must be between 0 and 1"),
        (lambda: bootstrap(len, 5, level=1.0), r"level \(1.0\) must be between 0 and 1"),
        (lambda: paired_bootstrap(len, 0), r"items \(0\) must be at least two"),
        (lambda: paired_permutation(torch.rand(1), torch.rand(1)), r"items \(1\) must be at least two"),
        (lambda: paired_permutation(torch.rand(2), torch.rand(3)), r"scores \(2\) and others \(3\) must be equally"),
        (lambda: mcnemar(torch.ones(2) > 0, torch.ones(1) > 0), r"right \(2\) and other_right \(1\) must be equally"),
        (lambda: t_interval(torch.rand(1)), r"values \(1\) must be at least two: one run says nothing"),
        (lambda: t_interval(torch.rand(3), level=95.0), r"level \(95.0\) must be between 0 and 1"),
    ],
)
def test_what_allows_no_conclusion_is_named(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


# -- baselines --------------------------------------------------------------------------------------------------------


def letters(count, seed=0):
    return "".join(random.Random(seed).choices("abcdefgh 字", k=count))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_compressors_by_their_files(name):
    text, before, compress = letters(3000), letters(3000, seed=1), COMPRESSORS[name]
    size = len(text.encode())
    assert compressed_bits_per_byte(text, compress) == 8 * len(compress(text.encode())) / size
    added = len(compress((before + text).encode())) - len(compress(before.encode()))
    assert compressed_bits_per_byte(text, compress, before) == 8 * added / size
    assert compressed_bits_per_byte(text, compress) > math.log2(10) * 3000 / size  # nobody can beat chance


def test_only_xz_remembers_a_text_from_long_ago():
    text = letters(20_000)
    before = text + letters(40_000, seed=1)
    assert compressed_bits_per_byte(text, COMPRESSORS["xz"], before) < 0.1
    assert compressed_bits_per_byte(text, COMPRESSORS["gzip"], before) > 2


def test_counted_bytes_are_those_of_the_counting_model():
    text, before = letters(50), letters(2000, seed=1)
    model, data = KneserNey(3, 256).count(before.encode()), text.encode()
    nats = -sum(math.log(model.probability(data[:at], data[at])) for at in range(len(data)))
    assert counted_bits_per_byte(text, before, order=3) == pytest.approx(nats / math.log(2) / len(data))
    assert counted_bits_per_byte(text, "", order=2) == pytest.approx(8)  # nothing counted: all bytes alike


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compressed_bits_per_byte("", COMPRESSORS["xz"], "a"), "text must not be empty"),
        (lambda: counted_bits_per_byte("", "a"), "text must not be empty"),
        (lambda: counted_bits_per_byte("a", "a", order=0), r"order \(0\) must be positive"),
    ],
)
def test_what_cannot_be_compressed_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""The engine diagnoses, and the registry is its mutation test."""

import itertools
import json
import math
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmguide_lib import checks
from llmguide_lib.checks import check, exercise, exercises, judge, marks, observe
from llmguide_lib.checks.registry import CHAPTERS, NOT_MET
from llmguide_lib.notebook import start

CHAPTER = "03_attention"
ROOT = Path(__file__).resolve().parent.parent
ALL = [asked for chapter in CHAPTERS for asked in exercises(chapter)]
WRONG = [(asked, mistake) for asked in ALL for mistake in asked.misconceptions]
HAND, ATTENTION, HEADS = (exercise(CHAPTER, name) for name in ("hand", "attention", "heads"))
LANGUAGES = ("en", "zh")


@pytest.fixture(autouse=True)
def _chapter():
    start(CHAPTER)


def verdict(asked, answer, **options):
    return judge(asked, observe(asked, answer, **options))


def right(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    return (weights if mask is None else weights.masked_fill(~mask, 0.0)) @ value


# -- the registry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "mistake"), WRONG, ids=lambda entry: entry.name)
def test_every_registered_mistake_is_caught_and_named(asked, mistake):
    found = verdict(asked, mistake.wrong)
    assert (found.misconception, found.right) == (mistake.name, False)
    assert found.says == mistake.says and found.hint == mistake.hint


def test_there_are_enough_mistakes_each_with_texts_and_a_source():
    assert len(WRONG) >= 50
    assert all(len(asked.misconceptions) >= 4 for asked in ALL if callable(asked.reference))
    for _, mistake in WRONG:
        assert mistake.seen.startswith(("https://", "a reader of")) or mistake.seen == NOT_MET
        assert all(mistake.says[lang] and mistake.hint[lang] for lang in LANGUAGES)
    # Each should have been met somewhere: what was only expected may become fewer, never more.
    assert sum(mistake.seen == NOT_MET for _, mistake in WRONG) <= 59


def test_the_registry_names_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"chapter \('99'\) must be one with exercises: 03_attention"):
        exercises("99")
    with pytest.raises(ValueError, match=r"name \('nothing'\) must be an exercise of 03_attention: hand, attention"):
        exercise(CHAPTER, "nothing")


# -- right answers in different styles --------------------------------------------------------------------------------


def by_einsum(query, key, value, mask=None):
    scores = torch.einsum("...tk,...sk->...ts", query * query.shape[-1] ** -0.5, key)
    if mask is None:
        return torch.einsum("...ts,...sv->...tv", scores.softmax(-1), value)
    weights = torch.nan_to_num(scores.masked_fill(~mask, -math.inf).softmax(-1))
    return torch.einsum("...ts,...sv->...tv", weights, value)


def by_exponentials(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    raised = (scores - scores.amax(-1, keepdim=True)).exp() if mask is None else None
    if mask is not None:
        top = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).amax(-1, keepdim=True)
        raised = (scores - top).clamp(max=0).exp() * mask
    total = raised.sum(-1, keepdim=True)
    return (raised / torch.where(total > 0, total, 1.0)) @ value


def by_loops(query, key, value, mask=None):
    if query.ndim == 3:
        masks = [None] * len(query) if mask is None else mask.expand(len(query), -1, -1)
        if mask is not None and mask.shape[-2] == 1:
            masks = mask.expand(len(query), query.shape[1], -1)
        return torch.stack([by_loops(*row) for row in zip(query, key, value, masks, strict=True)])
    rows = []
    for place, one in enumerate(query):
        seen = [s for s in range(len(key)) if mask is None or mask[place, s]]
        if not seen:
            rows.append(torch.zeros_like(value[0]))
            continue
        scores = torch.stack([one @ key[s] / math.sqrt(len(one)) for s in seen])
        rows.append(scores.softmax(0) @ value[seen])
    return torch.stack(rows)


@pytest.mark.parametrize("answer", [right, by_einsum, by_exponentials, by_loops])
def test_right_answers_of_different_styles_pass(answer):
    assert verdict(ATTENTION, answer).right


def test_the_reference_of_every_exercise_passes():
    for asked in ALL:
        assert verdict(replace(asked, forbidden=()), asked.reference).right


# -- wrong answers that nobody registered -----------------------------------------------------------------------------


def changed(step, **steps):
    """The right answer with one step changed."""

    def wrong(query, key, value, mask=None):
        query, key, value = steps.get("inputs", lambda *inputs: inputs)(query, key, value)
        return step(right(query, key, value, steps.get("mask", lambda m: m)(mask)))

    return wrong


def same(output):
    return output


UNREGISTERED = {
    "ones": lambda query, key, value, mask=None: torch.ones(*query.shape[:-1], value.shape[-1]),
    "mean of values": lambda query, key, value, mask=None: value.mean(-2, keepdim=True).expand(
        *query.shape[:-1], value.shape[-1]
    ),
    "first key hidden": changed(same, mask=lambda mask: None if mask is None else mask & (torch.arange(5) > 0)),
    "cosine": changed(same, inputs=lambda q, k, v: (q / q.norm(dim=-1, keepdim=True), k, v)),
    "negated": changed(lambda output: -output),
    "scaled a little more": changed(same, inputs=lambda q, k, v: (q / q.shape[-1] ** 0.25, k, v)),
    "one key too many": changed(same, mask=lambda mask: None if mask is None else mask | mask.roll(1, -1)),
    "single precision": changed(lambda output: output.float()),
    "transposed": changed(lambda output: output.mT),
    "rounded": changed(lambda output: (output * 100).round() / 100),
    "values reversed": changed(same, inputs=lambda q, k, v: (q, k, v.flip(-2))),
    "hard choice": lambda query, key, value, mask=None: (
        torch.nn.functional.one_hot((query @ key.mT).argmax(-1), key.shape[-2]).double() @ value
    ),
}


@pytest.mark.parametrize("name", UNREGISTERED)
def test_unregistered_wrong_answers_are_rejected_with_a_sentence(name):
    found = verdict(ATTENTION, UNREGISTERED[name])
    assert not found.right and found.misconception is None
    assert all(len(found.says[lang]) > 5 for lang in LANGUAGES)


# -- answers that misbehave -------------------------------------------------------------------------------------------


class Liar(torch.Tensor):
    def __eq__(self, other):
        return True


def endless_print(query, key, value, mask=None):
    while True:
        print("again")


def endless_loop(query, key, value, mask=None):
    while True:
        try:
            time.sleep(0.001)
        except Exception:
            pass


def changes_inputs(query, key, value, mask=None):
    output = right(query, key, value, mask)
    value.zero_()
    return output


def uses_torch(query, key, value, mask=None):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)


def warns(query, key, value, mask=None):
    warnings.warn("careful", stacklevel=1)
    sys.stderr.write("careful")
    print("a line")
    return right(query, key, value, mask)


def raising(error):
    def answer(*arguments):
        raise error

    return answer


def stub(query, key, value, mask=None):
    raise NotImplementedError("your code here")


MISBEHAVING = {
    "nothing": (lambda *arguments: None, "it returns nothing", "什么也没返回"),
    "a pair": (
        lambda *arguments: (right(*arguments), 1),
        "it returns tuple, not one torch tensor",
        "不是一个 torch 张量",
    ),
    "a number": (lambda *arguments: 1.0, "it returns float, not one torch tensor", "不是一个 torch 张量"),
    "not callable": (3, "the check needs the function itself and got int", "检查需要函数本身"),
    "too few arguments": (lambda query: query, "it raises TypeError", "出现了异常 TypeError"),
    "the stub": (stub, "there is no answer yet", "还没有写答案"),
    "shape": (lambda *arguments: right(*arguments)[..., :1], "the shape is [1, 1], it should be [1, 2]", "形状是"),
    "dtype": (lambda *arguments: right(*arguments).float(), "the dtype is torch.float32", "数据类型是"),
    "device": (lambda *arguments: right(*arguments).to("meta"), "the device is meta, it should be cpu", "设备是"),
    "NaN": (lambda *arguments: right(*arguments) * math.nan, "it gives nan instead of", "得到 nan，应为"),
    "changed inputs": (changes_inputs, "it changes its inputs", "改动了输入"),
    "endless print": (endless_print, "it prints more than 10000 characters", "打印了超过 10000 个字符"),
    "exit": (lambda *arguments: sys.exit(0), "it raises SystemExit", "出现了异常 SystemExit"),
    "a lying object": (lambda *a: right(*a).as_subclass(Liar), "it returns", "不是一个 torch 张量"),
    "forbidden": (uses_torch, "it uses `torch.nn.functional.scaled_dot_product_attention`", "要求你自己写出来"),
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_misbehaving_answers_get_a_sentence_in_both_languages_and_no_marks(name, capsys):
    answer, en, zh = MISBEHAVING[name]
    found = verdict(ATTENTION, answer)
    assert en in found.says["en"] and zh in found.says["zh"], found.says
    assert marks("attention", answer) == 0.0
    assert capsys.readouterr() == ("", "")


def test_a_loop_without_end_is_interrupted_and_the_reader_can_still_interrupt():
    began = time.monotonic()
    found = verdict(ATTENTION, endless_loop, limit_seconds=0.5)
    assert "no answer after 0.5 s" in found.says["en"] and found.fraction == 0.0
    assert time.monotonic() - began < 3
    with pytest.raises(KeyboardInterrupt):
        observe(ATTENTION, raising(KeyboardInterrupt()))


def test_a_forbidden_function_under_another_name_is_noticed():
    namespace = {"theirs": torch.nn.functional.scaled_dot_product_attention}
    exec("def answer(query, key, value, mask=None): return theirs(query, key, value, mask)", namespace)
    assert "it uses" in verdict(ATTENTION, namespace["answer"]).says["en"]
    assert "it uses" in verdict(ATTENTION, namespace["theirs"]).says["en"]


def test_changing_torch_does_not_change_the_verdict(monkeypatch):
    monkeypatch.setattr(torch, "allclose", lambda *arguments, **named: True)
    monkeypatch.setattr(torch, "isfinite", lambda *arguments, **named: torch.tensor(True))
    monkeypatch.setattr(torch, "equal", lambda *arguments: True)
    assert marks("attention", UNREGISTERED["ones"]) == 0.0


# -- marks ------------------------------------------------------------------------------------------------------------


def test_marks_are_bare_floats_and_add_up():
    for chapter in CHAPTERS:
        start(chapter)
        for asked in exercises(chapter):
            answer = right if asked is ATTENTION else asked.reference
            value = marks(asked.name, answer)
            assert type(value) is float and value == asked.points
    assert sum(asked.points for asked in exercises(CHAPTER)) == 18


def test_a_number_without_bounds_is_a_wrong_answer_and_no_error():
    assert marks("hand", [10**400, 0.09, 1.824]) == pytest.approx(2 * 2 / 3)
    assert "a number is expected" in verdict(exercise(CHAPTER, "hand"), [10**400, 0.09, 1.824]).says["en"]


def test_half_right_earns_what_it_deserves():
    assert marks("attention", by_name("everything where nothing may be seen")) == pytest.approx(3 * 0.75)
    assert marks("attention", by_name("mask ignored")) == pytest.approx(3 * 0.25)
    assert marks("hand", [1.0, 0.09, 0.0]) == pytest.approx(2 * 2 / 3)
    assert marks("hand", (1.0, 0.09, torch.tensor(1.824))) == marks("hand", torch.tensor([1.0, 0.09, 1.824])) == 2.0
    assert marks("hand", [np.float64(1.0), np.float64(0.09), 1.824]) == marks("hand", np.array([1, 0.09, 1.824])) == 2.0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([..., ..., ...], "there is no answer yet"),
        ([1.0, 0.09], "The output: the list ends after 2 entries"),
        (1.0, "a list of numbers is expected, not float"),
        ([2.0, 0.5, 0.5], "The scores are not divided by √d_k."),  # the first wrong number tells which mistake it is
        ([1.0, 0.0, 9.0], "The scores are divided by their sum, without e^…."),
    ],
)
def test_a_list_that_is_unfinished_or_half_wrong_is_told_so(answer, told):
    assert told in judge(HAND, observe(HAND, answer)).says["en"]


def test_a_tensor_of_one_number_has_no_place_to_name():
    said = verdict(exercise("06_causal_lm", "loss"), lambda logits, tokens, lengths: logits.sum() * 0 + 7).says
    assert re.search(r"it gives 7 instead of \d\.\d+$", said["en"]), said["en"]
    assert re.search(r"得到 7，应为 \d\.\d+", said["zh"]) and "[]" not in said["zh"]


def test_a_mistake_is_named_although_an_edge_case_is_wrong_too():
    wrong = by_name("softmax over the queries")
    both = lambda q, k, v, mask=None: wrong(q, k, v, mask).nan_to_num() + (q.abs().max() > 100)  # noqa: E731
    assert judge(ATTENTION, observe(ATTENTION, both)).misconception == "softmax over the queries"


def test_a_root_taken_in_single_precision_is_right():
    def rounded(query, key, value, mask=None):
        query = query / torch.sqrt(torch.tensor(query.shape[-1], dtype=torch.float32))
        return right(query * query.shape[-1] ** 0.5, key, value, mask)

    assert verdict(ATTENTION, rounded).right


def test_the_watchdog_works_where_interrupts_are_ignored():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from llmguide_lib.checks import exercise, observe\n"
        "def endless(*arguments):\n    while True: pass\n"
        "print(observe(exercise('03_attention', 'attention'), endless, 0.3)[0]['kind'])\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["timeout", "True"], done.stderr


def test_every_finished_chapters_cards_are_its_exercises():
    sys.path.insert(0, str(ROOT / "tools"))
    from bookbuilder.manifest import read_manifest
    from bookbuilder.source import read_source

    manifest = read_manifest(ROOT)
    for chapter in manifest.finished:
        items = read_source(manifest.source(chapter, "exercises")).items
        cards = {i.options["exercise"]: i.options["points"] for i in items if i.options.get("role") == "exercise"}
        assert cards == {one.name: one.points for one in exercises(chapter.slug)}, (
            f"see llmguide_lib/checks/{chapter.slug}"
        )


def test_what_an_answer_prints_is_kept_for_its_author(capsys):
    def talks(query, key, value, mask=None):
        print("shape", tuple(query.shape))
        return right(query, key, value, mask)

    assert observe(ATTENTION, talks)[0]["printed"] == "shape (1, 4)\n" and capsys.readouterr().out == ""
    check("attention", talks)
    assert "shape (1, 4)" in capsys.readouterr().out


def by_name(name):
    return next(mistake.wrong for mistake in ATTENTION.misconceptions if mistake.name == name)


def test_a_warning_or_a_printed_line_costs_nothing_and_shows_nothing(capfd):
    assert marks("attention", warns) == 3.0
    assert capfd.readouterr() == ("", "")


def test_marks_survive_a_judge_that_fails(monkeypatch):
    monkeypatch.setattr(checks, "judge", raising(RuntimeError("broken")))
    assert marks("attention", right) == 0.0


# -- the notebook's side ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_check_shows_a_sentence_in_the_notebooks_language_and_returns_nothing(lang, monkeypatch):
    start(CHAPTER, lang)
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert check("attention", by_name("unscaled")) is None
    assert check("attention", right) is None
    mistake = next(mistake for mistake in ATTENTION.misconceptions if mistake.wrong is by_name("unscaled"))
    assert mistake.says[lang] in repr(shown[0]) and mistake.hint[lang] in shown[0]._repr_html_()
    assert mistake.says[lang] + (" " if lang == "en" else "") + mistake.hint[lang] in repr(shown[0])
    assert ("Right." if lang == "en" else "正确。") in shown[1]._repr_html_() and "✔" in repr(shown[1])


def test_observations_are_plain_data():
    for asked, answer in itertools.product(ALL, [right, None, Liar, MISBEHAVING["a lying object"][0]]):
        seen = observe(asked, answer)
        assert json.loads(json.dumps(seen)) == seen


def test_a_verdict_comes_in_time():
    for answer, limit in ((right, 1.0), (UNREGISTERED["ones"], 2.0)):
        began = time.monotonic()
        verdict(ATTENTION, answer)
        assert time.monotonic() - began < limit


def test_the_engine_leaves_no_thread_and_no_output_behind():
    code = (
        "import threading\n"
        "from llmguide_lib.notebook import start\n"
        "from llmguide_lib.checks import marks\n"
        "start('03_attention')\n"
        "print(marks('hand', [1.0, 0.09, 1.824]), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2.0 1\n", "")

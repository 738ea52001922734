"""What notebooks call: printing, verdicts, language, the live curve."""

import pytest
import torch

from llmguide_lib.notebook import (
    Monitor,
    chapter,
    decide,
    difference,
    language,
    live,
    recorded,
    say,
    show,
    start,
    starting,
)
from llmguide_lib.notebook.verdicts import in_chinese
from llmguide_lib.training import Records


@pytest.fixture(autouse=True)
def _english_again():
    yield
    start("03_attention")


def test_start_sets_chapter_and_language_and_says_nothing(capsys):
    start("03_attention", lang="zh")
    assert (chapter(), language(), say({"en": "mask", "zh": "掩码"})) == ("03_attention", "zh", "掩码")
    assert capsys.readouterr() == ("", "")


def test_start_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(starting, "NEEDED", ("torch", "no_such_package"))
    with pytest.raises(ImportError, match="lacks no_such_package; run `make lab`"):
        start("03_attention")
    with pytest.raises(ImportError, match="当前环境缺少 no_such_package"):
        start("03_attention", lang="zh")


def test_start_refuses_another_language():
    with pytest.raises(ValueError, match=r"lang \('fr'\) must be one of"):
        start("03_attention", lang="fr")


def test_numbers_have_four_digits_and_noise_is_zero(capsys):
    show(1 / 3, 1e-17, -1e-17, 123456.0, torch.tensor(2.5), [1, 0.5], "text", (2, 3))
    assert capsys.readouterr().out == "0.3333 0 0 1.235e+05 2.5 [1, 0.5] text (2, 3)\n"


def test_named_tensors_are_tables(capsys):
    show(mask=torch.tensor([[True, False]]), weights=torch.tensor([[0.25, 0.5], [1, 0]]), size=3)
    assert capsys.readouterr().out == "mask (1, 2)\n  1  .\nweights (2, 2)\n  0.25   0.5\n     1     0\nsize = 3\n"


def test_differences_are_told_by_their_order():
    one = torch.ones(3)
    assert difference(one, one) == difference(one, one + 1e-15) == "< 1e-12"
    assert difference(one, one + 2e-3) == "~ 1e-03"
    assert difference(one, one * torch.nan) == "nan"
    assert difference(one.long(), one.long()) == "equal"
    assert difference(one.bool(), ~one.bool()) == "different"
    with pytest.raises(ValueError, match=r"first \(3,\) and second \(1, 3\) must have the same shape"):
        difference(one, one[None])


def test_records_are_read_by_name():
    assert recorded("gpt-course")["command"] == "python -m llmguide_lib.runs gpt-course"
    with pytest.raises(ValueError, match=r"name \('nothing'\) must be one of bert-course, .*gpt-course"):
        recorded("nothing")


def test_a_verdict_follows_from_what_was_seen():
    assert decide("1.1a", {"a": True}).verdict == "holds"
    assert decide("1.1a", {"a": True}, {"b": True, "c": False}).verdict == "holds within limits"
    assert decide("1.1a", {"a": True, "d": False}, {"b": True}).verdict == "does not hold here"
    with pytest.raises(ValueError, match="supports of claim '1.1a' must name"):
        decide("1.1a", {})


def test_a_verdict_is_shown_in_the_notebooks_language():
    decision = decide("2.1c", {"grows": True}, {"ties": False})
    english, chinese = (
        "2.1c: holds\n  yes  grows\n  limits:\n   no  ties",
        "2.1c: 成立\n  是  grows\n  局限：\n  否  ties",
    )
    assert str(decision) == english
    start("03_attention", lang="zh")
    assert str(decision) == chinese
    start("03_attention")
    assert str(decide("2.1c", {"grows": False})) == "2.1c: does not hold here\n   no  grows"
    older = english.replace("  limits:\n", "")  # as stored before limits had a heading
    assert in_chinese(older) == chinese.replace("  局限：\n", "")
    stored = decision._repr_mimebundle_()
    assert stored["application/vnd.llmguide.verdict+json"] == {"claim": "2.1c", "verdict": "holds"}


def test_a_monitor_counts_steps_and_keeps_records():
    with Monitor(60, max_steps=3) as run:
        for step in run:
            run.record(loss=float(step))
    assert run.records == {"loss": [(0, 0.0), (1, 1.0), (2, 2.0)]} and not run.stopped
    (axis,) = run.figure().axes
    assert list(axis.lines[0].get_ydata()) == [0.0, 1.0, 2.0]


def test_a_monitor_ends_after_its_seconds():
    import time

    with Monitor(0.05) as run:
        for _ in run:
            time.sleep(0.02)
    assert 2 <= run.step <= 4


def test_an_interrupt_stops_the_loop_and_keeps_what_was_learned():
    with Monitor(60) as run:
        for step in run:
            run.record(loss=1.0)
            if step == 2:
                raise KeyboardInterrupt
    assert run.stopped and len(run.records["loss"]) == 3


def test_a_monitor_lets_other_errors_through():
    with pytest.raises(RuntimeError, match="broken"), Monitor(60) as run:
        for _ in run:
            raise RuntimeError("broken")


MONITORED = """
import time
from llmguide_lib.notebook import Monitor
with Monitor(1.5, baselines={'count': 0.5}) as run:
    for step in run:
        time.sleep(0.05); run.record(loss=1 / (step + 1))
print(run.step > 5)
"""
TRAINED = """
import torch
from llmguide_lib.notebook import start
from llmguide_lib.models import GPT, GPTConfig
from llmguide_lib.objectives import NextToken, Windows
from llmguide_lib.training import TrainConfig, train
start("03_attention")
model = GPT(GPTConfig(vocab_size=50, max_seq_len=16, d_model=16, num_heads=2, num_layers=1))
records = train(model, NextToken(Windows(torch.arange(4000) % 50, 16, 4)), TrainConfig(seconds=1.5))
print(records.step > 5)
"""


@pytest.mark.parametrize("code", [MONITORED, TRAINED], ids=["monitor", "train"])
def test_in_a_notebook_the_curve_stays_and_the_controls_go(code):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3").execute()
    kinds = [sorted(output.get("data", {"stream": 0})) for output in notebook.cells[0].outputs]
    assert ["image/png", "text/plain"] in kinds and not any("widget-view" in kind for k in kinds for kind in k)
    assert notebook.cells[0].outputs[-1].text == "True\n"


def test_a_training_view_stops_the_run_at_its_button(monkeypatch):
    stopped = []

    class Curve:
        def __init__(self, stop, figure):
            self.stop, self.figure = stop, figure

        def update(self, step, progress, left):
            stopped.append((step, round(progress, 2), round(left, 2)))
            if step == 2:
                self.stop()

        def close(self):
            stopped.append("closed")

    monkeypatch.setattr(live, "LiveCurve", Curve)
    records, view = Records(step=1, seconds=2.0), live.TrainingView()
    view.update(records, 0.25)
    assert not records.stopped
    records.step, records.seconds = 2, 4.0
    view.update(records, 0.5)
    view.close()
    assert records.stopped and stopped == [(1, 0.25, 6.0), (2, 0.5, 4.0), "closed"]


def test_seconds_must_be_positive():
    with pytest.raises(ValueError, match=r"seconds \(0\) must be positive"):
        Monitor(0)

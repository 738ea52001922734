"""Judges observations: right, a known mistake, or where the answer first differs and how."""

import functools
import math
from dataclasses import dataclass, replace

from .observing import observe
from .registry import LAYERS, Exercise, Misconception, Texts, entry


@dataclass(frozen=True)
class Verdict:
    """What is to be said about an answer, and the share of the points that it deserves."""

    fraction: float
    says: Texts
    hint: Texts | None = None
    misconception: str | None = None

    @property
    def right(self) -> bool:
        """Whether nothing is left to be mended."""
        return self.fraction == 1.0


def judge(exercise: Exercise, observations: list[dict]) -> Verdict:
    """The verdict on plain observations."""
    expected = _expected(exercise)
    passed = [agree(seen, wanted, exercise.tolerance) for seen, wanted in zip(observations, expected, strict=False)]
    passed += [False] * (len(expected) - len(passed))
    fraction = _fraction(exercise, passed)
    if all(passed):
        return Verdict(1.0, {"en": "Right.", "zh": "正确。"})
    if known := recognise(exercise, observations):
        return Verdict(fraction, known.says, known.hint, known.name)
    place = passed.index(False)
    seen = observations[min(place, len(observations) - 1)]
    case = exercise.cases[place].name
    told = describe(seen, expected[place])
    says = {"en": f"{case['en']}: {told['en']}", "zh": f"{case['zh']}：{told['zh']}"}
    return Verdict(fraction, says)


def recognise(exercise: Exercise, observations: list[dict]) -> Misconception | None:
    """The registered mistake that the answer behaves like: on every case, else on what it got wrong before the edges.

    Two mistakes often come together. So, where nothing fits everywhere, the edge cases are left out, and of a list
    of numbers only the first wrong one counts.
    """
    expected = _expected(exercise)
    everywhere = list(range(len(expected)))
    for places in (everywhere, _decisive(exercise, observations, expected)):
        for misconception in exercise.misconceptions:
            wrong = _wrong(exercise, misconception.name)
            if places and len(observations) == len(expected) <= len(wrong):
                if all(agree(observations[place], wrong[place], exercise.tolerance) for place in places):
                    return misconception
    return None


def _decisive(exercise: Exercise, observations: list[dict], expected: list[dict]) -> list[int]:
    """The cases that show which mistake it is, if they are wrong."""
    pairs = zip(observations, expected, strict=False)
    wrong = [place for place, pair in enumerate(pairs) if not agree(*pair, exercise.tolerance)]
    if exercise.ask is entry:
        return wrong[:1]
    inner = [place for place, case in enumerate(exercise.cases) if case.layer != "edge"]
    return inner if set(inner) & set(wrong) else []


def agree(seen: dict, wanted: dict, tolerance: float) -> bool:
    """Whether two observations are the same, numbers up to the tolerance; types count, and so does changing inputs."""
    if seen["kind"] != wanted["kind"]:
        return False
    if seen["kind"] == "error":
        return seen["type"] == wanted["type"]
    if seen["kind"] != "value":
        return False
    return seen["changed"] == wanted["changed"] and _same(seen["value"], wanted["value"], tolerance)


def _same(seen: object, wanted: object, tolerance: float) -> bool:
    if isinstance(wanted, dict) and isinstance(seen, dict) and seen.keys() == wanted.keys() == {"tensor"}:
        a, b = seen["tensor"], wanted["tensor"]
        numbers = a.get("numbers"), b.get("numbers")
        return (a["shape"], a["dtype"], a["device"]) == (b["shape"], b["dtype"], b["device"]) and (
            None not in numbers and all(map(functools.partial(_close, tolerance=tolerance), *numbers))
        )
    if type(wanted) in (int, float) and type(seen) in (int, float):
        return _close(seen, wanted, tolerance)
    if isinstance(wanted, list) and isinstance(seen, list):
        return len(seen) == len(wanted) and all(_same(a, b, tolerance) for a, b in zip(seen, wanted, strict=True))
    return type(seen) is type(wanted) and seen == wanted


def _close(seen: float | int, wanted: float | int, tolerance: float) -> bool:
    if math.isnan(seen) or math.isnan(wanted):
        return math.isnan(seen) and math.isnan(wanted)
    return seen == wanted or abs(seen - wanted) <= tolerance * max(1.0, abs(wanted))


def _fraction(exercise: Exercise, passed: list[bool]) -> float:
    """The shares of the layers that are right; of a function's layers, those before the first wrong one."""
    fraction = 0.0
    for layer, share in exercise.shares.items():
        right = all(ok for ok, case in zip(passed, exercise.cases, strict=True) if case.layer == layer)
        if right:
            fraction += share
        elif layer in LAYERS:
            break
    return fraction if not all(passed) else 1.0


def describe(seen: dict, wanted: dict) -> Texts:
    """How an observation differs from the expected one, for somebody who wants to find the mistake."""
    match seen["kind"]:
        case "unusable":
            return seen["says"]
        case "timeout":
            return _texts("no answer after {0:g} s; is there a loop that never ends?",
                          "{0:g} 秒后还没有结果，是不是有停不下来的循环？", seen["seconds"])  # fmt: skip
        case "output":
            return _texts("it prints more than {0} characters; remove the print",
                          "打印了超过 {0} 个字符，请去掉 print", seen["characters"])  # fmt: skip
        case "forbidden":
            return _texts("it uses `{0}`, which this exercise asks you to write yourself",
                          "用了 `{0}`，这道题要求你自己写出来", seen["name"])  # fmt: skip
        case "error" if seen["type"] == "NotImplementedError":
            return _texts("there is no answer yet", "还没有写答案")
        case "error":
            return _texts("it raises {0}: {1}", "出现了异常 {0}：{1}", seen["type"], seen["message"])
    if seen["changed"]:
        return _texts("it changes its inputs; work on new tensors", "它改动了输入，请在新的张量上计算")
    return _describe_value(seen["value"], wanted["value"])


def _describe_value(seen: object, wanted: object) -> Texts:
    if seen is None:
        return _texts("it returns nothing; is `return` missing?", "它什么也没返回，是不是漏了 `return`？")
    if isinstance(wanted, dict) and not (isinstance(seen, dict) and "tensor" in seen):
        return _texts("it returns {0}, not one torch tensor", "它返回的是 {0}，不是一个 torch 张量", _kind(seen))
    if not isinstance(wanted, dict):
        if type(seen) not in (int, float):
            return _texts("a number is expected, not {0}", "这里应当是一个数，而不是 {0}", _kind(seen))
        return _texts("{0:.4g} is not right", "{0:.4g} 不对", seen)
    a, b = seen["tensor"], wanted["tensor"]
    for key, name in (("shape", ("shape", "形状")), ("dtype", ("dtype", "数据类型")), ("device", ("device", "设备"))):
        if a[key] != b[key]:
            en = f"the {name[0]} is {a[key]}, it should be {b[key]}"
            return {"en": en, "zh": f"{name[1]}是 {a[key]}，应当是 {b[key]}"}
    return _describe_numbers(a["numbers"], b["numbers"], b["shape"])


def _describe_numbers(seen: list[float], wanted: list[float], shape: list[int]) -> Texts:
    if not shape:
        return _texts("it gives {0:.4g} instead of {1:.4g}", "得到 {0:.4g}，应为 {1:.4g}", seen[0], wanted[0])
    distances = [abs(a - b) if math.isfinite(a) else math.inf for a, b in zip(seen, wanted, strict=True)]
    worst = max(range(len(distances)), key=distances.__getitem__)
    place, rest = [], worst
    for size in reversed(shape):
        place.insert(0, rest % size)
        rest //= size
    return _texts("at {0} it gives {1:.4g} instead of {2:.4g}; this is the largest difference",
                  "在位置 {0} 得到 {1:.4g}，应为 {2:.4g}，这是相差最大的一处",
                  place, seen[worst], wanted[worst])  # fmt: skip


def _kind(value: object) -> str:
    if isinstance(value, dict) and "tensor" in value:
        return "Tensor"
    return value["type"] if isinstance(value, dict) and "type" in value else type(value).__name__


def _texts(en: str, zh: str, *values: object) -> Texts:
    return {"en": en.format(*values), "zh": zh.format(*values)}


@functools.cache
def _expected(exercise: Exercise) -> list[dict]:
    """What the reference does. The forbidden names are its to use."""
    return observe(replace(exercise, forbidden=()), exercise.reference)


@functools.cache
def _wrong(exercise: Exercise, name: str) -> list[dict]:
    """What a registered wrong answer does."""
    wrong = next(entry.wrong for entry in exercise.misconceptions if entry.name == name)
    return observe(replace(exercise, forbidden=()), wrong)

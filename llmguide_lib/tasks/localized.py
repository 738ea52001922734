"""Pairs without end from Babel: dates, amounts of money, languages and countries, in English and in Chinese.

Each pair is a value written in a format. One value in ten is never in the training pairs, a fixed pseudorandom
choice by the value; nor are some formats, whose parts all stand in others. So there are two tests:

- unseen_values: unseen values, in the formats of training;
- unseen_formats: values of training, in unseen formats.

A name that is unseen cannot be known, only guessed from its parts, as a reader would.
"""

import datetime
import functools
import itertools
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from ..extras import imported
from .translation import Pair

LOCALIZED_SPLITS = ("train", "unseen_values", "unseen_formats")
_FIRST_DAY, _DAYS = datetime.date(1950, 1, 1), 36525
_NO_COUNTRIES = frozenset("EU EZ QO UN XA XB ZZ".split())  # unions, outlying seas, codes for testing
_CURRENCIES = ("USD", "EUR", "GBP", "JPY", "KRW", "INR")


@dataclass(frozen=True)
class Kind:
    """What pairs are made of: values, how one is written in a format, and by what it counts as unseen."""

    values: Callable[[], list[tuple]]
    write: Callable[[tuple, str], tuple[str, str]]
    keys: Callable[[tuple], list[str]]
    formats: tuple[str, ...]
    unseen_formats: tuple[str, ...]


def localized_pairs(kind: str, split: str = "train", count: int = 1000, seed: int = 0) -> list[Pair]:
    """Different pairs of one kind, the same for the same seed and version of Babel.

    Args:
        kind: "date" (a day's Chinese date; the weekday where the English has one), "iso" (a day as ISO 8601, which
            is China's standard GB/T 7408 too, writes it), "money" (amounts by ten thousands, as Chinese counts) or
            "name" (languages and countries).
        split: "train", "unseen_values" or "unseen_formats"; no English text is in two of them.
        count: how many; there are at least 400.
        seed: which of them, and in which order.
    Raises:
        ValueError: an unknown kind or split, or a count below 1 or beyond what there is.
        ImportError: Babel is not installed.

    Example:
        >>> localized_pairs("money", count=1)[0].chinese
        '1.96万韩元'
    """
    for name, value, known in (("kind", kind, LOCALIZED_KINDS), ("split", split, LOCALIZED_SPLITS)):
        if value not in known:
            raise ValueError(f"{name} ({value!r}) must be one of {', '.join(known)}")
    if count < 1:
        raise ValueError(f"count ({count}) must be at least 1")
    formats = LOCALIZED_KINDS[kind].unseen_formats if split == "unseen_formats" else LOCALIZED_KINDS[kind].formats
    choices = list(itertools.product(_values(kind, split == "unseen_values"), formats))
    generator = random.Random(seed)
    pairs: dict[str, Pair] = {}
    # Sorted by draws of random(), the only method whose numbers no version of Python changes.
    for value, form in sorted(choices, key=lambda _: generator.random()):
        if len(pairs) == count:
            break
        english, chinese = LOCALIZED_KINDS[kind].write(value, form)
        pairs.setdefault(english, Pair(english, chinese, f"babel {kind}"))
    if len(pairs) < count:
        raise ValueError(f"count ({count}) must be at most {len(pairs)}, the different pairs there are")
    return list(pairs.values())


@functools.cache
def _values(kind: str, unseen: bool) -> list[tuple]:
    """The values whose every key is unseen, or is not."""
    chosen = LOCALIZED_KINDS[kind]
    return [v for v in chosen.values() if all(is_unseen(key) == unseen for key in chosen.keys(v))]


def is_unseen(key: str) -> bool:
    """Whether a day, amount, language or country is kept from training."""
    return zlib.crc32(key.encode()) % 10 == 0


def _days() -> list[tuple]:
    return [(_FIRST_DAY + datetime.timedelta(days),) for days in range(_DAYS)]


def _date(value: tuple, form: str) -> tuple[str, str]:
    format_date = imported("babel.dates", "lab").format_date
    chinese = "y年M月d日EEEE" if "E" in form else "y年M月d日"
    return format_date(value[0], form, locale="en"), format_date(value[0], chinese, locale="zh")


def _iso(value: tuple, form: str) -> tuple[str, str]:
    return _date(value, form)[0], value[0].isoformat()


def _amounts() -> list[tuple]:
    """Amounts of at most three digits and zeros, in each currency; from 1,000 on, where all formats differ."""
    amounts = [digits * 10**zeros for digits in range(1, 1000) for zeros in range(9) if digits % 10]
    return [(amount, currency) for amount in amounts if amount >= 1000 for currency in _CURRENCIES]


def _money(value: tuple, form: str) -> tuple[str, str]:
    numbers = imported("babel.numbers", "lab")
    amount, currency = value
    long = numbers.format_compact_decimal(amount, format_type="long", locale="en", fraction_digits=4)
    chinese = numbers.format_compact_decimal(amount, locale="zh", fraction_digits=4)
    english = form.format(
        plain=amount,
        grouped=numbers.format_decimal(amount, locale="en"),
        long=long,
        code=currency,
        symbol=numbers.get_currency_symbol(currency, locale="en"),
        name=numbers.get_currency_name(currency, count=amount, locale="en"),
    )
    return english, chinese + numbers.get_currency_name(currency, locale="zh")


def _names() -> list[tuple]:
    """Languages and countries that have two letters in the standards and a name of their own in both languages."""
    english, chinese = map(imported("babel", "lab").Locale, ("en", "zh"))
    found = []
    for names, translated in ((english.languages, chinese.languages), (english.territories, chinese.territories)):
        codes = sorted(c for c in names.keys() & translated.keys() if len(c) == 2 and c.isalpha())
        found.append([(code, names[code], translated[code]) for code in codes if code not in _NO_COUNTRIES])
    return list(itertools.product(*found))


def _name(value: tuple, form: str) -> tuple[str, str]:
    (_, *language), (_, *country) = value
    english, chinese = (form.format(language=language[at], country=country[at]) for at in range(2))
    return english, chinese.replace(" (", "（").replace(")", "）")


_DATES = ("MMMM d, y", "d MMM y", "d MMMM, y", "EEEE, MMMM d, y", "EEE d MMM y", "M/d/y", "y MMMM d")
_UNSEEN_DATES = ("EEEE, d MMMM y", "MMM d y", "EEE, y MMM d")
_MONEY = (
    *("{plain} {name}", "{grouped} {name}", "{long} {name}"),
    *("{symbol}{plain}", "{symbol}{grouped}", "{code} {grouped}", "{code} {long}"),
)
_UNSEEN_MONEY = ("{symbol}{long}", "{code} {plain}")
_NAMES, _UNSEEN_NAMES = ("{language}", "{country}", "{language} ({country})"), ("{country} ({language})",)
LOCALIZED_KINDS = {
    "date": Kind(_days, _date, lambda value: [value[0].isoformat()], _DATES, _UNSEEN_DATES),
    "iso": Kind(_days, _iso, lambda value: [value[0].isoformat()], _DATES, _UNSEEN_DATES),
    "money": Kind(_amounts, _money, lambda value: [str(value[0])], _MONEY, _UNSEEN_MONEY),
    "name": Kind(_names, _name, lambda value: [name for _, name, _ in value], _NAMES, _UNSEEN_NAMES),
}

"""English and Chinese sentences that belong together, from the translations that installed programs carry.

A pair's split is a fixed pseudorandom function of the words of its English text, without case, articles, final s,
digits and placeholders. So a pair is in the same split on every machine and under every version, and pairs that
differ in these only ("Heading 1", "Heading 2") are in one split together. What resembles a text of an earlier split
in another way is left out: a version can lack a test pair that another one has, but never trains on it.
"""

import functools
import html
import re
import struct
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..corpora.installation import package_folder
from ..corpora.splits import SPLITS, split_of
from ..extras import imported

# Source -> the package that holds its catalogues, and the extra of the course that installs it.
TRANSLATION_SOURCES = {"jupyterlab": ("jupyterlab_language_pack_zh_CN", "lab"), "sphinx": ("sphinx", "site")}
CATALOGUES = "locale/zh_CN/LC_MESSAGES"
RESEMBLANCE = 0.7  # of the 4-grams of two texts together, the share in both from which they are near-duplicates
NGRAM = 4

PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%\d+|%(?:\.\d+)?[sdrif]|\$?\{[\w.]*(?:![rsa])?(?::[^{}]*)?\}")
_HAN = "\u4e00-\u9fff"
_PLAIN = [
    (re.compile(r"</?[a-z][^<>]*>"), ""),
    (re.compile(r"\s*[(（]&\w[)）]|(?<!\w)&(?=\w)"), ""),  # the letter that opens a menu: &File, 文件(&F)
    (re.compile(r"`+([^`']*)[`']+"), r"\1"),
    (re.compile(rf"(?<=[{_HAN}，。；：！？、])\s*\n\s*(?=[{_HAN}])"), ""),
    (re.compile(r"\s+"), " "),
]
_MARKUP = re.compile(r"[{}<>|\\`]|://|\*\*")


@dataclass(frozen=True)
class Pair:
    """A text in English and in Chinese, and where it is from."""

    english: str
    chinese: str
    source: str


def translation_pairs(split: str = "train", sources: Sequence[str] | None = None) -> list[Pair]:
    """The pairs of one split, cleaned; placeholders such as %s, %1 and {0} are the same in both languages.

    With JupyterLab's language pack 4.5 and Sphinx 9.0 there are 3,653 pairs (train 3,058,
    validation 180, test 415), of 5.7 English words and 13.7 Chinese characters on average.

    Args:
        split: "train", "validation" or "test".
        sources: some of TRANSLATION_SOURCES; None means all that are installed.
    Raises:
        ValueError: an unknown split or source, none of the sources is installed, or a catalogue is damaged.
        ImportError: Babel is not installed.
    Warns:
        UserWarning: a source is not installed; says how to install it.
    """
    if split not in SPLITS:
        raise ValueError(f"split ({split!r}) must be one of {', '.join(SPLITS)}")
    names = list(TRANSLATION_SOURCES) if sources is None else list(sources)
    if isinstance(sources, str) or not names or set(names) - TRANSLATION_SOURCES.keys():
        raise ValueError(f"sources ({sources!r}) must be a list of some of {', '.join(TRANSLATION_SOURCES)}")
    folders = {name: package_folder(package) for name, (package, _) in TRANSLATION_SOURCES.items()}
    missing = [name for name in names if folders[name] is None]
    if missing:
        extras = " and ".join("{} (extra {})".format(*TRANSLATION_SOURCES[name]) for name in missing)
        lack = f"sources: {', '.join(missing)} not found; to have these pairs too, install {extras}"
        if missing == names:
            raise ValueError(lack)
        warnings.warn(lack, stacklevel=2)
    # Splits are made of all that is installed, so that no choice of sources brings a text to another side.
    return [pair for pair in _splits(tuple(folders.items()))[split] if pair.source in names]


def placeholders(text: str) -> list[str]:
    """The places that a program fills in, sorted.

    Example:
        >>> placeholders("Saved {0} of %1 files to %(folder)s")
        ['%(folder)s', '%1', '{0}']
    """
    return sorted(PLACEHOLDER.findall(text))


def split_key(english: str) -> str:
    """What decides on the split of a text: its words without case, articles, final s, digits and placeholders.

    Example:
        >>> split_key("Failed to open the files %1: error 404")
        'failed to open file error'
    """
    words = re.findall("[a-z]+", PLACEHOLDER.sub(" ", english).lower().replace("'", ""))
    return " ".join(word.rstrip("s") or word for word in words if word not in ("a", "an", "the"))


@functools.lru_cache(maxsize=2)
def _splits(folders: tuple[tuple[str, Path | None], ...]) -> dict[str, list[Pair]]:
    """All pairs by split, without duplicates and near-duplicates."""
    distinct: dict[str, Pair] = {}
    for source, folder in folders:
        for pair in _cleaned(source, folder):
            distinct.setdefault(re.sub(r"\W+", " ", pair.english.casefold()).strip(), pair)
    drawn = defaultdict(list)
    for pair in distinct.values():
        drawn[split_of("translation", split_key(pair.english))].append(pair)
    earlier, found = Neighbours(), {}
    for split in SPLITS:
        found[split] = [pair for pair in drawn[split] if earlier.resemblance(pair.english) < RESEMBLANCE]
        earlier.add(pair.english for pair in found[split])
    return found


class Neighbours:
    """Finds out how much a text resembles the most similar one of many."""

    def __init__(self) -> None:
        self._texts_of: dict[str, set[str]] = defaultdict(set)
        self._ngrams: dict[str, set[str]] = {}

    def add(self, texts: Iterable[str]) -> None:
        """Takes in texts to compare others with."""
        for key in map(split_key, texts):
            self._ngrams[key] = _ngrams(key)
            for ngram in self._ngrams[key]:
                self._texts_of[ngram].add(key)

    def resemblance(self, text: str) -> float:
        """The largest share, over all texts taken in, that the common 4-grams have in those of both, 0 to 1."""
        own = _ngrams(split_key(text))
        common = Counter(key for ngram in own for key in self._texts_of.get(ngram, ()))
        shares = (both / (len(own) + len(self._ngrams[key]) - both) for key, both in common.items())
        return max(shares, default=0.0)


def _ngrams(key: str) -> set[str]:
    padded = f" {key} "
    return {padded[at : at + NGRAM] for at in range(max(1, len(padded) - NGRAM + 1))}


def _cleaned(source: str, folder: Path | None) -> Iterable[Pair]:
    """The pairs of one source that remain when cleaned, catalogue by catalogue."""
    files = [] if folder is None else sorted((folder / CATALOGUES).glob("*.mo"))
    for english, chinese in (message for file in files for message in _messages(file)):
        pair = Pair(_plain(english), _plain(chinese), source)
        if "\n\n" not in english and _is_translation(pair):
            yield pair


def _messages(file: Path) -> list[tuple[str, str]]:
    """What a catalogue translates; of a text with plural forms, the last form of either language."""
    mofile = imported("babel.messages.mofile", "lab")
    try:
        with file.open("rb") as stream:
            messages = [(message.id, message.string) for message in mofile.read_mo(stream) if message.id]
    except (OSError, ValueError, struct.error) as error:
        raise ValueError(f"catalogue ({file}) must be readable: {error}") from error
    forms = [[[form] if isinstance(form, str) else list(form) for form in message] for message in messages]
    return [(english[-1], next(filter(None, reversed(chinese)), "")) for english, chinese in forms]


def _plain(text: str) -> str:
    text = html.unescape(text)
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)
    return text.strip()


def _is_translation(pair: Pair) -> bool:
    english, chinese = (PLACEHOLDER.sub(" ", text) for text in (pair.english, pair.chinese))
    written = re.search("[A-Za-z]{2}", english) and not re.search(f"[{_HAN}]", english)
    translated = re.search(f"[{_HAN}]", chinese) and placeholders(pair.english) == placeholders(pair.chinese)
    return bool(written and translated) and not _MARKUP.search(english + chinese)

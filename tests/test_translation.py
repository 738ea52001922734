"""Pairs of English and Chinese: cleaned, in the same split everywhere, and nothing of a test in the training pairs."""

import difflib
import gettext
import importlib.metadata
import io
import random
import re
import sys

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from llmguide_lib.corpora import SPLITS, installation
from llmguide_lib.tasks import (
    LOCALIZED_KINDS,
    LOCALIZED_SPLITS,
    TRANSLATION_SOURCES,
    Pair,
    localized,
    localized_pairs,
    translation,
    translation_pairs,
)

PACK, SPHINX = (TRANSLATION_SOURCES[name][0] for name in ("jupyterlab", "sphinx"))


def installed(folder, package, messages):
    """A package with a catalogue of these messages, without an installer."""
    catalogue = Catalog(locale="zh_CN")
    for english, chinese in messages.items():
        catalogue.add(english, chinese)
    path = folder / package / translation.CATALOGUES / "messages.mo"
    path.parent.mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise SystemExit('this was imported')\n", encoding="utf-8")
    with path.open("wb") as stream:
        write_mo(stream, catalogue)
    return path


@pytest.fixture
def only(tmp_path, monkeypatch):
    """What installs packages where nothing else is found."""
    import babel.messages.mofile  # noqa: F401  (what reads catalogues stays)

    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return lambda package, messages: installed(tmp_path, package, messages)


def read(only, messages):
    """All pairs that come of these messages."""
    only(PACK, {"Save the notebook": "保存笔记本"} | messages)
    pairs = [pair for split in SPLITS for pair in translation_pairs(split, ["jupyterlab"])]
    return {pair.english: pair.chinese for pair in pairs if pair.english != "Save the notebook"}


@pytest.fixture(scope="module")
def here():
    """The pairs of this installation by split; skips where it has none."""
    names = [name for name, (package, _) in TRANSLATION_SOURCES.items() if installation.package_folder(package)]
    if not names:
        pytest.skip("neither JupyterLab's language pack nor Sphinx is installed")
    return {split: translation_pairs(split, names) for split in SPLITS}


# Cleaning


@pytest.mark.parametrize(
    "english, chinese, expected",
    [
        ("Open the file", "打开文件", ("Open the file", "打开文件")),
        ("Line %1 of %2", "第 %2 行中的第 %1 行", ("Line %1 of %2", "第 %2 行中的第 %1 行")),
        ("&Open it", "打开(&O)", ("Open it", "打开")),
        ("<b>Open</b> the `file`", "打开 `文件`", ("Open the file", "打开 文件")),
        ("Save &amp; close", "保存并关闭", ("Save & close", "保存并关闭")),
        ("One line\n  and more", "一行\n另一行", ("One line and more", "一行另一行")),
        (("%d file", "%d files"), ("%d 个文件",), ("%d files", "%d 个文件")),
        (
            "Took %.3fs in %(place)s",
            "在 %(place)s 用了 %.3f 秒",
            ("Took %.3fs in %(place)s", "在 %(place)s 用了 %.3f 秒"),
        ),
        ("JupyterLab", "JupyterLab", None),
        ("Untranslated text", "", None),
        ("Untranslated text", "Still untranslated", None),
        ("Is it saved?", "保存到 %1？", None),
        ("Saved %1 of %1", "已保存 %1", None),
        ("%1 %2", "第 %1 个 %2", None),
        ("文件 file", "文件", None),
        ("Look at https://example.org", "请看 https://example.org", None),
        ('Write {"a": 1}', '写 {"a": 1} 吧', None),
        ("A paragraph.\n\nAnother one.", "一段。另一段。", None),
    ],
)
def test_what_is_no_translation_goes_and_placeholders_stay(only, english, chinese, expected):
    assert read(only, {english: chinese}) == ({expected[0]: expected[1]} if expected else {})


def test_a_text_stands_once_whatever_its_case_and_punctuation(only):
    assert read(only, {"Open File": "打开文件", "Open file…": "打开文件…", "open file": "开启文件"}) == {
        "Open File": "打开文件"
    }


def test_placeholders_of_all_programs_are_found():
    text = "%s %1 %(name)s %d {0} {} {name!r} ${count} {size:.1f} 50 % of {json: x"
    assert translation.placeholders(text) == sorted("%s %1 %(name)s %d {0} {} {name!r} ${count} {size:.1f}".split())


def test_the_examples_in_the_docstrings_are_true():
    assert translation.placeholders("Saved {0} of %1 files to %(folder)s") == ["%(folder)s", "%1", "{0}"]
    assert translation.split_key("Failed to open the files %1: error 404") == "failed to open file error"
    assert localized_pairs("money", count=1)[0].chinese == "1.96万韩元"


def test_the_catalogues_are_read_as_the_standard_library_reads_them(here):
    folder = installation.package_folder(PACK)
    if folder is None:
        pytest.skip("JupyterLab's language pack is not installed")
    file = folder / translation.CATALOGUES / "jupyterlab.mo"
    standard = gettext.GNUTranslations(io.BytesIO(file.read_bytes()))
    read = [(english, chinese) for english, chinese in translation._messages(file) if "\n" not in english]
    same = sum(standard.gettext(english) == chinese for english, chinese in read)
    assert same > 0.4 * len(read), "the others have a context, without which gettext does not find them"


# Splits


def test_the_installed_pairs_are_as_many_as_the_docstring_says(here):
    counted = {"babel": "2.18.0", "sphinx": "9.0.4", "jupyterlab_language_pack_zh_CN": "4.5.post3"}
    try:
        versions = {name: importlib.metadata.version(name) for name in counted}
    except importlib.metadata.PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    if versions != counted:
        pytest.skip("other versions than those that were counted")
    stated = [int(number.replace(",", "")) for number in re.findall(r"\d,?\d{2,}", translation_pairs.__doc__)]
    sizes = [len(here[split]) for split in SPLITS]
    assert stated[:4] == [sum(sizes), *sizes]


def test_no_text_of_a_split_resembles_one_of_another(here):
    words = {split: [translation.split_key(pair.english) for pair in here[split]] for split in SPLITS}
    assert set(words["train"]) & set(words["test"]) == set(words["train"]) & set(words["validation"]) == set()
    assert set(words["validation"]) & set(words["test"]) == set()
    # Independently of how near-duplicates are found: hardly a text is an edit away from one of training.
    held_out = random.Random(0).sample(words["validation"] + words["test"], 100)
    close = [text for text in held_out if difflib.get_close_matches(text, words["train"], n=1, cutoff=0.9)]
    assert len(close) <= 5, close


def test_every_pair_has_the_same_placeholders_and_its_own_split(here):
    pairs = [(split, pair) for split in SPLITS for pair in here[split]]
    assert len(pairs) > 500
    assert len({pair.english for _, pair in pairs}) == len(pairs)
    for split, pair in pairs:
        assert translation.placeholders(pair.english) == translation.placeholders(pair.chinese)
        assert translation.split_of("translation", translation.split_key(pair.english)) == split


def test_texts_that_differ_in_numbers_and_placeholders_are_in_one_split_together(only):
    only(PACK, {f"Heading {at} of the long chapter on %{at}": f"第 {at} 节标题 %{at}" for at in range(1, 30)})
    assert sorted(len(translation_pairs(split, ["jupyterlab"])) for split in SPLITS) == [0, 0, 29]


def test_near_duplicates_of_training_texts_are_left_out_and_never_moved(only):
    messages = {f"Change the {word} of the current notebook": f"更改 {word}" for word in "abcdefghijklmnopqrstuvwxyz"}
    drawn = [translation.split_of("translation", translation.split_key(english)) for english in messages]
    assert 0 < drawn.count("train") < 26, "the example must be spread"
    only(PACK, messages)
    found = {split: translation_pairs(split, ["jupyterlab"]) for split in SPLITS}
    assert {split: len(pairs) for split, pairs in found.items()} == {
        "train": drawn.count("train"),
        "validation": 0,
        "test": 0,
    }


def test_another_version_leaves_every_text_in_its_split(only):
    texts = {
        f"{a} the {b}": f"翻译{a}" for a in "open close save print find".split() for b in "file cell tab menu".split()
    }
    path = only(PACK, texts)
    before = {pair.english: split for split in SPLITS for pair in translation_pairs(split, ["jupyterlab"])}
    translation._splits.cache_clear()
    catalogue = Catalog(locale="zh_CN")
    for english, chinese in [*list(texts.items())[3:][::-1], ("An entirely new sentence", "新句子")]:
        catalogue.add(english, chinese)
    with path.open("wb") as stream:
        write_mo(stream, catalogue)
    after = {pair.english: split for split in SPLITS for pair in translation_pairs(split, ["jupyterlab"])}
    common = before.keys() & after.keys()
    assert len(common) >= 10 and len(set(before.values())) > 1
    assert all(before[english] == after[english] for english in common)


# What is not there


def test_an_absent_sphinx_is_said_in_one_sentence_and_the_rest_is_there(only):
    only(PACK, {"Save the notebook": "保存笔记本"})
    split = translation.split_of("translation", "save the notebook")
    with pytest.warns(UserWarning, match=r"sources: sphinx not found; .* install sphinx \(extra site\)$"):
        assert translation_pairs(split) == [Pair("Save the notebook", "保存笔记本", "jupyterlab")]
    assert translation_pairs(split, ["jupyterlab"]), "who does not ask for it is not warned"


def test_an_absent_language_pack_is_said_too(only):
    only(SPHINX, {"Save the notebook": "保存笔记本"})
    split = translation.split_of("translation", "save the notebook")
    with pytest.warns(
        UserWarning, match=r"sources: jupyterlab not found; .* jupyterlab_language_pack_zh_CN \(extra lab"
    ):
        assert [pair.source for pair in translation_pairs(split)] == ["sphinx"]
    with pytest.raises(ValueError, match=r"sources: jupyterlab not found; to have these pairs too, install"):
        translation_pairs("train", ["jupyterlab"])


def test_without_any_source_there_is_an_error(only):
    with pytest.raises(ValueError, match=r"sources: jupyterlab, sphinx not found; .* \(extra lab\) and sphinx \(extra"):
        translation_pairs()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"split \('dev'\) must be one of train, validation, test"):
        translation_pairs("dev")
    for sources in (["django"], [], "sphinx"):
        with pytest.raises(ValueError, match=re.escape(f"sources ({sources!r}) must be a list of some of jupyterlab,")):
            translation_pairs("train", sources)


def test_a_damaged_catalogue_is_named(only):
    path = only(PACK, {"Save": "保存"})
    for damage in (b"\xde\x12", b"no catalogue at all " * 3):
        translation._splits.cache_clear()
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"catalogue \(.*messages\.mo\) must be readable: "):
            translation_pairs("train", ["jupyterlab"])


def test_an_absent_babel_is_said(only, monkeypatch):
    only(PACK, {"Save": "保存"})
    for module in ("babel", "babel.messages.mofile", "babel.dates"):
        monkeypatch.setitem(sys.modules, module, None)
    for call in (lambda: translation_pairs("train", ["jupyterlab"]), lambda: localized_pairs("date", count=1)):
        with pytest.raises(ImportError, match=r"babel is not installed; run: pip install 'llmguide-lib\[lab\]'"):
            call()


# Dates, money and names


@pytest.mark.parametrize("kind", LOCALIZED_KINDS)
def test_no_english_text_of_one_localized_split_is_in_another(kind):
    parts = LOCALIZED_KINDS[kind]
    pairs = {split: localized_pairs(kind, split, 400, seed=1) for split in LOCALIZED_SPLITS}
    texts = {split: {pair.english for pair in pairs[split]} for split in LOCALIZED_SPLITS}
    assert all(len(own) == 400 for own in texts.values())
    assert texts["train"] & (texts["unseen_values"] | texts["unseen_formats"]) == set()
    assert texts["unseen_values"] & texts["unseen_formats"] == set()
    # An unseen format gives nothing that a format of training could have given of the same value.
    seen = localized._values(kind, False)
    for value in random.Random(2).sample(seen, 300):
        known = {parts.write(value, form)[0] for form in parts.formats}
        assert known.isdisjoint(parts.write(value, form)[0] for form in parts.unseen_formats)
    # An English text has one meaning.
    meanings = {}
    for pair in (pair for split in LOCALIZED_SPLITS for pair in pairs[split]):
        assert meanings.setdefault(pair.english, pair.chinese) == pair.chinese


@pytest.mark.parametrize("kind", LOCALIZED_KINDS)
def test_values_are_unseen_by_a_rule_and_formats_are_made_of_known_parts(kind):
    parts = LOCALIZED_KINDS[kind]
    seen, unseen = localized._values(kind, False), localized._values(kind, True)
    assert not any(localized.is_unseen(key) for value in seen for key in parts.keys(value))
    assert all(localized.is_unseen(key) for value in unseen for key in parts.keys(value))
    assert min(len(seen), len(unseen)) > 400
    assert set(parts.formats).isdisjoint(parts.unseen_formats)
    pieces = re.compile(r"\w+|[{(]\w+[})]")
    known = {piece for form in parts.formats for piece in pieces.findall(form)}
    assert {piece for form in parts.unseen_formats for piece in pieces.findall(form)} <= known


def test_unseen_names_stand_in_no_training_text():
    unseen = {name for value in localized._values("name", True) for _, name, _ in value}
    trained = {name for value in localized._values("name", False) for _, name, _ in value}
    assert len(unseen) > 40 and unseen.isdisjoint(trained)


@pytest.mark.parametrize(
    "kind, value, form, english, chinese",
    [
        ("date", "1987-05-03", "EEEE, MMMM d, y", "Sunday, May 3, 1987", "1987年5月3日星期日"),
        ("date", "2024-12-31", "d MMM y", "31 Dec 2024", "2024年12月31日"),
        ("iso", "1987-05-03", "EEE d MMM y", "Sun 3 May 1987", "1987-05-03"),
        ("money", (1_200_000, "EUR"), "{long} {name}", "1.2 million euros", "120万欧元"),
        ("money", (7_000, "USD"), "{symbol}{grouped}", "$7,000", "7000美元"),
        ("money", (45_600_000_000, "JPY"), "{code} {long}", "JPY 45.6 billion", "456亿日元"),
        ("name", ("fr", "CA"), "{language} ({country})", "French (Canada)", "法语（加拿大）"),
    ],
)
def test_pairs_mean_the_same_in_both_languages(kind, value, form, english, chinese):
    if kind in ("date", "iso"):
        value = next(day for day in localized._days() if day[0].isoformat() == value)
    elif kind == "name":
        value = next(pair for pair in localized._names() if tuple(name[0] for name in pair) == value)
    assert LOCALIZED_KINDS[kind].write(value, form) == (english, chinese)


def test_the_same_seed_gives_the_same_pairs_and_another_one_others():
    first = localized_pairs("date", count=50, seed=3)
    assert first == localized_pairs("date", count=80, seed=3)[:50]
    assert first != localized_pairs("date", count=50, seed=4)
    assert {pair.source for pair in first} == {"babel date"}


def test_bad_arguments_of_localized_pairs_are_named():
    with pytest.raises(ValueError, match=r"kind \('time'\) must be one of date, iso, money, name"):
        localized_pairs("time")
    with pytest.raises(ValueError, match=r"split \('test'\) must be one of train, unseen_values, unseen_formats"):
        localized_pairs("date", "test")
    with pytest.raises(ValueError, match=r"count \(10000\) must be at most \d{3}, the different pairs"):
        localized_pairs("name", "unseen_values", 10_000)
    for count in (0, -1):
        with pytest.raises(ValueError, match=rf"count \({count}\) must be at least 1"):
            localized_pairs("date", count=count)

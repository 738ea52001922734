"""Makes the website: pages from the committed notebooks, Sphinx once per language, then the index for the search."""

import functools
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import jinja2

from .building import as_text, read_notebook
from .claims import Claim, read_claims
from .explorers import Place, read_explorers
from .glossary import read_glossary
from .manifest import KINDS, LANGUAGES, BookError, Manifest
from .pages import make_page, read_solutions
from .source import write_atomically

SITE = Path(__file__).resolve().parents[2] / "site"
SEARCH_INDEX = Path("pagefind") / "pagefind-entry.json"  # also how a folder is known to be an earlier site
PACKAGES = ("sphinx", "myst_nb", "sphinx_book_theme", "pagefind", "sphinx-mathjax-offline")
GITHUB = "https://github.com/"
# The parts of MathJax that site/conf.py asks for, their fonts, and TeX extensions that load when first used.
MATHJAX = ("startup.js", "core.js", "a11y/assistive-mml.js", "input/tex.js", "output/chtml.js")
MATHJAX += ("output/chtml/fonts", "input/tex/extensions")


def texts(lang: str) -> dict[str, str]:
    """The site's own words in one language."""
    table = tomllib.loads((SITE / "texts.toml").read_text(encoding="utf-8"))
    return {name: both[lang] for name, both in table.items()}


def make_site(manifest: Manifest, out: Path) -> Path:
    """Builds both languages into ``out``, replacing an earlier site there in one step; returns its first page.

    Raises:
        BookError: a package is missing, a notebook is not built, a claim has no verdict, Sphinx warned, or ``out``
            holds something else.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise BookError(f"the site needs {', '.join(missing)}; run `make book`, which installs what it needs")
    if out.exists() and any(out.iterdir()) and not (out / SEARCH_INDEX).exists():
        raise BookError(f"{out} holds something that is not the site; choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site-") as folder:
        sources, made = Path(folder) / "sources", Path(folder) / "html"
        for lang in LANGUAGES:
            write_sources(manifest, sources / lang, lang)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda lang: run_sphinx(manifest, sources / lang, made / lang, lang), LANGUAGES))
        for lang in LANGUAGES:
            copy_notebooks(manifest, made / lang, lang)
        shutil.copyfile(SITE / "pages" / "index.html", made / "index.html")
        copy_models(made / "models")
        export_models(made / "models")
        (made / ".nojekyll").touch()  # else GitHub's pages leave out folders whose names begin with _
        index = ["--quiet", "--exclude-selectors", ".headerlink, .math", "--site", str(made)]
        _run([sys.executable, "-m", "pagefind", *index], "the search index")
        if out.exists():
            out.rename(Path(folder) / "earlier")
        made.rename(out)
    return out / "index.html"


def write_sources(manifest: Manifest, folder: Path, lang: str) -> None:
    """Writes what Sphinx reads for one language: a page per notebook, the map, claims, terms, and static files."""
    claims: list[Claim] = []
    places: list[Place] = []
    for chapter in manifest.finished:
        for kind in KINDS:
            path = manifest.notebook(chapter, kind, lang)
            notebook = read_notebook(path)
            if notebook is None:
                raise BookError(f"{path}: missing or not a notebook; run: tools/book.py build {chapter.slug}")
            if kind == "lesson":
                claims += read_claims(chapter, notebook)
                places += read_explorers(manifest, chapter, notebook)
            make_page(notebook, lang, read_solutions(manifest, chapter, lang) if kind == "exercises" else {})
            write_atomically(folder / chapter.slug / f"{kind}.ipynb", as_text(notebook))
    terms, first = read_glossary(manifest.root), first_explorer(lang)
    found = {"claims": claims, "terms": terms, "first": first, "places": places}
    for name in ("index.md", "explorers.md", "claims.md", "glossary.md"):
        values = found | {"manifest": manifest, "lang": lang}
        write_atomically(folder / name, _render(name, **values))
    copy_static(manifest, folder / "_static")


def _render(name: str, **values: object) -> str:
    from llmguide_lib.notebook.verdicts import VERDICTS

    loader = jinja2.FileSystemLoader(SITE / "pages")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(name).render(values, t=texts(values["lang"]), verdicts=VERDICTS) + "\n"


def first_explorer(lang: str) -> dict[str, str]:
    """The explorer of the first page: its stored state, and the still picture for readers without JavaScript."""
    from llmguide_lib.widgets.export import stored_state

    explorer = _next_token()
    states = {"try": {"state": stored_state(explorer) | {"lang": lang}}}
    return {"states": json.dumps({"state": states}).replace("<", "\\u003c"), "still": explorer._page()}


@functools.cache
def _next_token() -> object:
    from llmguide_lib import course
    from llmguide_lib.widgets import NextTokenExplorer

    explorer = NextTokenExplorer(*course.load("gpt"), "Return a new array of the given")
    explorer.temperature = 0.8
    return explorer


def copy_static(manifest: Manifest, folder: Path) -> None:
    """Everything that pages load: the site's own files, MathJax, and the explorers with the pieces they import."""
    shutil.copytree(SITE / "static", folder)
    mathjax = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for name in MATHJAX:
        source, target = mathjax / name, folder / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    (folder / "explorers").mkdir()
    for path in (manifest.root / "llmguide_lib" / "widgets").glob("*.[jc]s*"):
        shutil.copyfile(path, folder / "explorers" / path.name)


def copy_models(folder: Path) -> None:
    """Writes the shipped course models as the explorers of both languages fetch them."""
    from llmguide_lib.course import NAMES
    from llmguide_lib.widgets.model_explorer import course_files

    folder.mkdir()
    for name in NAMES:
        for file, content in course_files(name).items():
            (folder / file).write_bytes(content)


def export_models(folder: Path) -> None:
    """Makes of each course model what ``export_page`` makes of a student's: a page with all its explorers."""
    from llmguide_lib import course
    from llmguide_lib.widgets import export_page

    for name, lang in itertools.product(course.NAMES, LANGUAGES):
        title = course.folder(name).name
        export_page(*course.load(name), folder / f"{name}.{lang}.html", title=title, lang=lang)


def copy_notebooks(manifest: Manifest, folder: Path, lang: str) -> None:
    """Puts the notebooks beside their pages, for download."""
    for chapter in manifest.finished:
        for kind in KINDS:
            path = manifest.notebook(chapter, kind, lang)
            shutil.copyfile(path, folder / chapter.slug / path.name)


def launch_links(manifest: Manifest, notebook: str) -> dict[str, str]:
    """Where a notebook can be opened by name of the service; nowhere while the book has no repository."""
    if manifest.repository is None:
        return {}
    repository = manifest.repository
    path = f"{manifest.src.relative_to(manifest.root).as_posix()}/{notebook}"
    if not repository.url.startswith(GITHUB):
        where = f"git/{quote(repository.url, safe='')}"
        return {"Binder": f"https://mybinder.org/v2/{where}/{repository.branch}?urlpath=lab/tree/{path}"}
    name = repository.url.removeprefix(GITHUB)
    return {
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{repository.branch}/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{repository.branch}?urlpath=lab/tree/{path}",
    }


def run_sphinx(manifest: Manifest, source: Path, target: Path, lang: str) -> None:
    """Builds one language; a warning is an error. A process of its own, because Sphinx keeps global state."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-c", str(SITE)]
    command += ["-d", f"{source}.doctrees", str(source), str(target)]
    static = str(source / "_static")
    _run(command, f"Sphinx ({lang})", BOOK_ROOT=str(manifest.root), BOOK_LANG=lang, BOOK_STATIC=static)
    unused = [".buildinfo", "objects.inv", *(target / "_static" / "scripts").glob("fontawesome*")]
    for file in unused:
        (target / file).unlink()


def _run(command: list[str], name: str, **variables: str) -> None:
    # Warnings of other packages' Python code are not the site's: the switches of a test run must not reach them.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHONWARN")}
    environment = {**inherited, **variables, "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise BookError(f"{name} failed:\n{(done.stdout + done.stderr)[-3000:]}")

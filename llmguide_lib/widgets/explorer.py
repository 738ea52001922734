"""What all explorers share: JavaScript modules that travel to the page as one text, and the notebook's language."""

import functools
import re
from importlib import resources
from typing import Any

import anywidget
import traitlets

from ..notebook import language

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:const|class|function\*?) (\w+))", re.MULTILINE)


@functools.cache
def bundle(name: str) -> str:
    """The JavaScript of one explorer with the modules that it imports written before it, each once and in a scope of
    its own, so that two modules may use the same name.

    JupyterLab gets a widget's JavaScript as a single text, in which relative imports lead nowhere; the
    website serves the same files as they are.
    """
    parts: dict[str, str] = {}

    def include(module: str) -> str:
        text = _read(f"{module}.js")
        for _, imported in IMPORT.findall(text):
            if imported not in parts:
                parts[imported] = _enclosed(imported, include(imported))
        return IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};\n", text)

    own = include(name)
    return "\n".join([*parts.values(), own])


def _variable(module: str) -> str:
    return "module_" + module.replace("-", "_")


def _enclosed(module: str, text: str) -> str:
    names = ", ".join(EXPORT.findall(text))
    return f"const {_variable(module)} = (() => {{\n{EXPORT.sub('', text)}return {{ {names} }};\n}})();\n"


@functools.cache
def _read(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")


class Explorer(anywidget.AnyWidget):
    """A picture to play with. Its drawing and arithmetic happen in the browser, so it needs no kernel once shown.

    Attributes:
        explorer: name of the JavaScript module that draws it; the website loads it under this name.
        lang: language of its labels, that of the notebook.
    """

    explorer = traitlets.Unicode().tag(sync=True)
    lang = traitlets.Unicode().tag(sync=True)

    @traitlets.default("lang")
    def _notebook_language(self) -> str:
        return language()

    def _page(self) -> str:
        """What is shown where widgets do not run, as on GitHub: HTML, empty for nothing."""
        return ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_()
        page = self._page()
        return data | ({"text/html": page} if page else {}), metadata

    @property
    def _esm(self) -> str:
        return bundle(self.explorer)

    @property
    def _css(self) -> str:
        return _read("explorers.css")

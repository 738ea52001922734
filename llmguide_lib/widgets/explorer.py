"""What all explorers share: JavaScript modules that travel to the page as one text, and the notebook's language."""

import functools
import re
from importlib import resources

import anywidget
import traitlets

from ..notebook import language

IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+)\.js";\n', re.MULTILINE)


@functools.cache
def bundle(name: str) -> str:
    """The JavaScript of one explorer with the modules that it imports written before it, each once.

    JupyterLab gets a widget's JavaScript as a single text, in which relative imports lead nowhere; the
    website serves the same files as they are.
    """
    parts: dict[str, str] = {}

    def include(module: str) -> None:
        text = _read(f"{module}.js")
        for imported in IMPORT.findall(text):
            if imported not in parts:
                include(imported)
        text = IMPORT.sub("", text)
        parts[module] = text if module == name else re.sub(r"^export ", "", text, flags=re.MULTILINE)

    include(name)
    return "\n".join(parts.values())


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

    @property
    def _esm(self) -> str:
        return bundle(self.explorer)

    @property
    def _css(self) -> str:
        return _read("explorers.css")

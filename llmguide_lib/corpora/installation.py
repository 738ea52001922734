"""The docstrings of installed libraries, read from their source files with ``ast``: nothing is imported or run."""

import ast
import importlib.machinery
import importlib.metadata
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Library -> its top-level package. All come with the smallest installation of the course; licences are in NOTICE.
PACKAGES = {
    "stdlib": "",
    "numpy": "numpy",
    "torch": "torch",
    "matplotlib": "matplotlib",
    "sympy": "sympy",
    "networkx": "networkx",
    "jinja2": "jinja2",
    "pillow": "PIL",
    "mpmath": "mpmath",
    "fonttools": "fontTools",
    "ipython": "IPython",
    "tornado": "tornado",
    "prompt_toolkit": "prompt_toolkit",
    "pygments": "pygments",
    "babel": "babel",
}
# Not read: tests; what others wrote and a library only carries along; parts of the standard library that only some
# Pythons have; what lives in its folder as a guest.
_SKIPPED = frozenset(
    "test tests distutils ensurepip idlelib lib2to3 tkinter turtledemo _internal _vendor vendor externals "
    "site-packages dist-packages __pycache__".split()
)
OBJECT_KINDS = ("module", "class", "method", "property", "function", "builtin")
# Functions that attach documentation to objects written in C: add_docstr(torch.abs, "..."), add_newdoc("numpy", ...).
_ATTACHING = ("add_docstr", "add_newdoc")


@dataclass(frozen=True)
class Docstring:
    """One docstring as it stands in a source file, and what it documents; ``name`` is empty for a module's own."""

    module: str
    name: str
    text: str
    kind: str = field(default="module", compare=False)  # one of OBJECT_KINDS
    node: ast.AST | None = field(default=None, compare=False, repr=False)
    lines: list[bytes] = field(default_factory=list, compare=False, repr=False)  # of the whole file


@dataclass
class Reading:
    """What became of reading one library: the version found, and files or folders that could not be read."""

    version: str | None = None
    directory: Path | None = None
    unreadable: list[str] = field(default_factory=list)


def locate(library: str) -> Reading:
    """Finds the folder and version of an installed library; both None where it is not installed."""
    if library == "stdlib":
        return Reading(".".join(map(str, sys.version_info[:3])), Path(sysconfig.get_path("stdlib")))
    folder = package_folder(PACKAGES[library])
    if folder is None:
        return Reading()
    try:
        version = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Reading(version, folder)


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, which is not imported for it; None where it is not installed."""
    # The path finder and not importlib.util.find_spec, which trusts whatever a running process calls by this name.
    spec = importlib.machinery.PathFinder.find_spec(package)
    locations = list((spec and spec.submodule_search_locations) or [])
    return Path(locations[0]) if locations else None


def docstrings(library: str, reading: Reading) -> Iterator[Docstring]:
    """All docstrings of a library, by module and in the order of the source; fills ``reading.unreadable``."""
    if reading.directory is None:
        return
    for path in _sources(reading):
        try:
            source = path.read_bytes()
        except OSError as error:
            reading.unreadable.append(str(error))
            continue
        tree = _parse(source)
        if tree is not None:
            parts = [PACKAGES[library], *path.relative_to(reading.directory).with_suffix("").parts]
            lines = source.replace(b"\r\n", b"\n").split(b"\n")
            yield from _in_tree(tree, ".".join(part for part in parts if part not in ("", "__init__")), lines)


def _sources(reading: Reading) -> Iterator[Path]:
    """The source files below a folder, sorted, so that every file system gives the same order."""
    for folder, folders, files in os.walk(reading.directory, onerror=lambda e: reading.unreadable.append(str(e))):
        folders[:] = sorted(set(folders) - _SKIPPED)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _parse(source: bytes) -> ast.Module | None:
    """The syntax tree; None for a file that this Python cannot parse (templates, examples of errors)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _in_tree(tree: ast.Module, module: str, lines: list[bytes]) -> Iterator[Docstring]:
    waiting: list[tuple[ast.AST, str, str]] = [(tree, "", "module")]
    while waiting:
        node, name, kind = waiting.pop()
        text = ast.get_docstring(node, clean=False)
        if text:
            yield Docstring(module, name, text, kind, node, lines)
        inner = []
        for child in _statements(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner.append((child, f"{name}.{child.name}".lstrip("."), _kind(child, node)))
            elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
                yield from _attached(child.value, module)
        waiting.extend(reversed(inner))


def _kind(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, owner: ast.AST) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if not isinstance(owner, ast.ClassDef):
        return "function"
    decorators = [getattr(decorator, "attr", getattr(decorator, "id", "")) for decorator in node.decorator_list]
    return "property" if any(name.endswith("property") for name in decorators) else "method"


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a body, also of those nested in if, try and with."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler):
            yield child
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Expr):
                yield from _statements(child)


def _attached(call: ast.Call, module: str) -> Iterator[Docstring]:
    """The documentation in a call such as ``add_docstr(torch.abs, "...")``: its longest string."""
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if not function.startswith(_ATTACHING) or len(call.args) < 2:
        return
    texts = [text for argument in call.args[1:] for text in _strings(argument)]
    if texts:
        text = max(texts, key=len)
        first = call.args[0]
        names = [ast.unparse(first)] if isinstance(first, ast.Attribute) else list(_strings(first))
        names += [other for other in texts if other is not text and other.isidentifier()]
        yield Docstring(module, ".".join(names), text, "builtin")


def _strings(node: ast.AST) -> Iterator[str]:
    """The strings in an argument: a constant, ``a + b``, ``"...".format(...)``, or a tuple or list of these."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.BinOp):
        yield "".join([*_strings(node.left), *_strings(node.right)])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _strings(node.func.value)
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _strings(element)

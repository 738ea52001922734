"""The library keeps its floors, its budgets and its manners. Each rule is first shown a snippet that breaks it."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parent.parent / "llmguide_lib"
FLOORS = {
    0: "runtime files layers positions attention tokenizers objectives adapters compression interpretability plots "
    "counting packing sizes extras",
    1: "transformer corpora checkpoint",
    2: "models training",
    3: "generation evaluation alignment huggingface course runs",
    4: "tasks notebook checks widgets",
}
FLOOR = {module: floor for floor, modules in FLOORS.items() for module in modules.split()}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(LIBRARY.rglob("*.py"))}


def module_of(path):
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imports(tree, package="llmguide_lib"):
    """Modules of the library that a file imports, absolute or relative, with the number of dots."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(package)):
            names = [node.module] if node.module and node.module != package else [a.name for a in node.names]
            found |= {(node.level, name.removeprefix(f"{package}.").split(".")[0]) for name in names}
        elif isinstance(node, ast.Import):
            found |= {(0, a.name.split(".")[1]) for a in node.names if a.name.startswith(f"{package}.")}
    return found


def upward(tree, floor, depth=1):
    return {name for level, name in imports(tree) if level in (0, depth) and FLOOR.get(name, -1) > floor}


def code_lines(tree, text):
    docs = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and at not in docs for at, line in lines)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(node):
    start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
    return node.end_lineno - start + 1


def wide(node):
    arguments = node.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    defaults = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
    booleans = [
        default for default in defaults if isinstance(default, ast.Constant) and isinstance(default.value, bool)
    ]
    return len([name for name in names if name.arg not in ("self", "cls")]) > 8 or len(booleans) > 2


def passes_keywords_through(node):
    name = node.args.kwarg and node.args.kwarg.arg
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
    return bool(name) and any(
        word.arg is None and isinstance(word.value, ast.Name) and word.value.id == name
        for call in calls
        for word in call.keywords
    )


def undocumented(tree):
    public = (ast.FunctionDef, ast.ClassDef)
    tops = [node for node in tree.body if isinstance(node, public)]
    inner = [node for top in tops if isinstance(top, ast.ClassDef) and top.name[0] != "_" for node in top.body]
    nodes = [node for node in [*tops, *inner] if isinstance(node, public) and not node.name.startswith("_")]
    return [node.name for node in nodes if ast.get_docstring(node) is None]


def first(snippet):
    return ast.parse(snippet).body[0]


def test_the_rules_notice_what_breaks_them():
    assert upward(ast.parse("from .notebook import show"), 0) == {"notebook"}
    assert upward(ast.parse("import llmguide_lib.training"), 1) == {"training"}
    assert upward(ast.parse("from llmguide_lib.attention import attention"), 0) == set()
    assert code_lines(ast.parse('"""Doc."""\n# why\n\nx = 1'), '"""Doc."""\n# why\n\nx = 1') == 1
    assert wide(first("def f(a, b, c, d, e, f, g, h, i): ..."))
    assert wide(first("def f(a=True, b=False, *, c=True): ..."))
    assert not wide(first("def f(self, a, b, c, d, e, f, g, h=True): ..."))
    assert passes_keywords_through(first("def f(**options):\n    g(**options)"))
    assert not passes_keywords_through(first("def f(**named):\n    print(named)"))
    assert undocumented(ast.parse("class A:\n    'd'\n    def f(self): ...\n    def _g(self): ...")) == ["f"]


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_file_keeps_its_floor_its_size_and_its_docstrings(path):
    module, tree = module_of(path), TREES[path]
    if module != "__init__":
        assert module in FLOOR, f"{module} stands on no floor: add it to FLOORS and to the layout"
        assert upward(tree, FLOOR[module], len(path.relative_to(LIBRARY).parts)) == set()
    assert code_lines(tree, path.read_text(encoding="utf-8")) <= 400
    assert undocumented(tree) == []
    assert ast.get_docstring(tree) or not tree.body
    for node in functions(tree):
        where = f"{path.name}:{node.lineno} {node.name}"
        assert body_lines(node) <= 60, where
        assert not wide(node), where
        assert not passes_keywords_through(node), where
    if module != "notebook":
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert "print" not in {call.func.id for call in calls}


def test_the_library_stays_small():
    counted = {path: tree for path, tree in TREES.items() if FLOOR.get(module_of(path), 9) <= 3}
    lines = {path: code_lines(tree, path.read_text(encoding="utf-8")) for path, tree in counted.items()}
    assert sum(lines.values()) <= 5000
    assert statistics.median(body_lines(node) for tree in counted.values() for node in functions(tree)) <= 15


def test_no_module_of_the_library_imports_itself_in_a_circle():
    edges = {}
    for path, tree in TREES.items():
        depth = len(path.relative_to(LIBRARY).parts)
        named = {name for level, name in imports(tree) if level in (0, depth)}
        edges.setdefault(module_of(path), set()).update(named - {module_of(path)})
    done = set()
    while ready := {module for module in edges if module not in done and edges[module] & edges.keys() <= done}:
        done |= ready
    assert edges.keys() - done == set()


def test_nothing_happens_at_import():
    names = sorted({module_of(path) for path in TREES} - {"__init__"})
    code = (
        "import sys, torch; before = torch.get_rng_state()\n"
        f"for name in {[name for name in names if FLOOR[name] < 4]}: __import__(f'llmguide_lib.{{name}}')\n"
        "heavy = {'matplotlib', 'IPython', 'ipywidgets', 'anywidget', 'transformers'} & set(sys.modules)\n"
        f"for name in {names}: __import__(f'llmguide_lib.{{name}}')\n"
        "assert torch.equal(before, torch.get_rng_state()); assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::EncodingWarning", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

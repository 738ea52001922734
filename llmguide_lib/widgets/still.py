"""Stored results as plain HTML, for where neither widgets nor JavaScript run: symbols, numbers, short English names."""

import html
from collections.abc import Iterable, Sequence

SIGNS = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})  # as chips.js writes them


def code(piece: str) -> str:
    """A token so that all of it can be seen."""
    shown = "".join(one if one.isprintable() else f"⟨U+{ord(one):04X}⟩" for one in piece.translate(SIGNS))
    return f"<code>{html.escape(shown)}</code>"


def tokens(pieces: Iterable[str]) -> str:
    """A text cut into tokens."""
    return f"<p>{' '.join(map(code, pieces))}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already; each row begins with its name."""
    head = "".join(f"<th>{name}</th>" for name in columns)
    lines = (f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, *cells in rows)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def shares(name: str, rows: Sequence[Sequence]) -> str:
    """Tokens with their probabilities; ``name`` says which tokens they are."""
    percent = ["&lt;0.1%" if 0 < share < 0.0005 else f"{share:.1%}" for _, share in rows]
    return table([name, "probability"], zip((code(piece) for piece, _ in rows), percent, strict=True))

"""A folder as people have it: some hundred files of ten kinds, with one answer among them.

    python -m benchmarks.harness.mixed_files FOLDER [--files 500]

The texts are made of sentences about a house and its garden, drawn from a seed, so that every run
makes the same folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path

QUESTION = "where is the spare key of the cellar?"
ANSWER = "The spare key of the cellar hangs behind the blue door on the second floor."
ANSWERED_IN = "letters/letter-0273.eml"

_WHO = [
    "the landlord",
    "the plumber",
    "our neighbour",
    "the gardener",
    "an electrician",
    "the agency",
]
_DID = ["repaired", "measured", "painted", "ordered", "checked", "described", "sold", "replaced"]
_WHAT = [
    "the roof of the shed", "two windows in the hall", "the pump of the well", "a row of trees",
    "the heating in the attic", "the fence along the road", "an old oak table", "the water meter",
    "the lamps in the staircase", "a new bicycle rack", "the gutter above the terrace",
]  # fmt: skip
_WHEN = [
    "in spring",
    "last week",
    "before the storm",
    "in the year {}",
    "on a Monday",
    "after lunch",
]
_WHY = [
    "because the rain came in", "as the contract says", "for {} euros", "without asking anybody",
    "and wrote a report of {} pages", "although nobody had complained",
]  # fmt: skip


def _sentence(draw: random.Random) -> str:
    parts = [draw.choice(options) for options in (_WHO, _DID, _WHAT, _WHEN, _WHY)]
    text = " ".join(parts).replace("{}", str(draw.randint(3, 2024)))
    return f"{text[0].upper()}{text[1:]}."


def _paragraph(draw: random.Random) -> str:
    return " ".join(_sentence(draw) for _ in range(draw.randint(3, 7)))


def _title(draw: random.Random) -> str:
    return draw.choice(_WHAT).capitalize()


def _markdown(draw: random.Random, texts: list[str]) -> str:
    return f"# {_title(draw)}\n\n" + "\n\n".join(f"## {_title(draw)}\n\n{text}" for text in texts)


def _html(draw: random.Random, texts: list[str]) -> str:
    body = "".join(f"<h2>{_title(draw)}</h2><p>{text}</p>" for text in texts)
    return f"<!doctype html><title>{_title(draw)}</title><nav>Home</nav><main>{body}</main>"


def _python(draw: random.Random, texts: list[str]) -> str:
    names = [draw.choice(_WHAT).replace(" ", "_") for _ in texts]
    pairs = zip(names, texts, strict=True)
    return "\n\n".join(f'def {name}():\n    """{text}"""\n    return 1' for name, text in pairs)


def _json(draw: random.Random, texts: list[str]) -> str:
    return json.dumps([{"title": _title(draw), "text": text} for text in texts])


def _csv(draw: random.Random, texts: list[str]) -> str:
    rows = [f'"{_title(draw)}","{text}"' for text in texts]
    return "\n".join(["title,text", *rows])


def _mail(draw: random.Random, texts: list[str]) -> str:
    head = f"From: a@example.org\nTo: b@example.org\nSubject: {_title(draw)}\n\n"
    return head + "\n\n".join(texts)


def _notebook(draw: random.Random, texts: list[str]) -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in texts]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def _restructured(draw: random.Random, texts: list[str]) -> str:
    title = _title(draw)
    return f"{title}\n{'=' * len(title)}\n\n" + "\n\n".join(texts)


def _latex(draw: random.Random, texts: list[str]) -> str:
    body = "\n\n".join(f"\\section{{{_title(draw)}}}\n{text}" for text in texts)
    return f"\\documentclass{{article}}\\begin{{document}}{body}\\end{{document}}"


def _text(draw: random.Random, texts: list[str]) -> str:
    return "\n\n".join(texts)


Write = Callable[[random.Random, list[str]], str]
_KINDS: list[tuple[str, str, Write, int]] = [
    ("notes", "md", _markdown, 25), ("notes", "txt", _text, 20), ("site", "html", _html, 15),
    ("code", "py", _python, 10), ("letters", "eml", _mail, 10), ("data", "json", _json, 5),
    ("data", "csv", _csv, 5), ("lab", "ipynb", _notebook, 4), ("manual", "rst", _restructured, 3),
    ("manual", "tex", _latex, 3),
]  # fmt: skip
"""Folder, suffix, writer, and how many of a hundred files."""


def make(folder: Path, files: int = 500) -> int:
    """Write the files; return how many bytes they are.

    Args:
        folder: Where to; made when it is not there.
        files: How many.
    """
    draw = random.Random(17)
    kinds = [kind for kind in _KINDS for _ in range(kind[3])]
    size = 0
    for number in range(files):
        room, suffix, write, _ = kinds[number % len(kinds)]
        path = folder / room / f"{'letter' if suffix == 'eml' else suffix}-{number:04}.{suffix}"
        texts = [_paragraph(draw) for _ in range(draw.randint(2, 6))]
        if path.relative_to(folder).as_posix() == ANSWERED_IN or (files < 300 and number == 0):
            texts[0] += f" {ANSWER}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(draw, texts), encoding="utf-8")
        size += path.stat().st_size
    return size


def main() -> None:
    """Make a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=500)
    given = parser.parse_args()
    size = make(given.folder, given.files)
    print(f"{given.files} files, {size / 1e6:.2f} MB; ask: {QUESTION}")


if __name__ == "__main__":
    main()

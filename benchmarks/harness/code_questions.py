"""Functions with what their authors wrote above them, out of folders of source code.

The first sentence of a doc comment is a question in words, and the function without it the answer.
Projects are kept apart, so that a model may be measured on projects that it never saw.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_LINES = 80
FEWEST_WORDS = 4

_HEADS = {
    ".go": re.compile(r"func\b"),
    ".rs": re.compile(r"\s*(?:pub(?:\([a-z]+\))? )?(?:const |unsafe |async )*fn\b"),
    ".js": re.compile(
        r"\s*(?:export (?:default )?)?(?:async )?function\b|\s*[\w.$]+ ?[=:] ?(?:async )?function\b"
        r"|\s*(?:static |async )*[a-z$_][\w$]*\([^()]*\) ?\{"
    ),
    ".rb": re.compile(r"\s*def\b"),
}
_COMMENTS = {".go": re.compile(r"//(?!go:| ?nolint) ?"), ".rs": re.compile(r"\s*/// ?"),
             ".rb": re.compile(r"\s*#+ ?")}  # fmt: skip
_NAMES = {".py": "Python", ".go": "Go", ".rs": "Rust", ".js": "JavaScript", ".rb": "Ruby"}
_SKIPPED = re.compile(r"(?:^|[/_.-])(?:tests?|dist|min|build|vendor|es|esm|cjs|fp)(?:[/_.-]|$)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n\s*\n|\n\s*(?:@|#|:|-|\*|```|>>>)")


@dataclass(frozen=True)
class Function:
    """A function, and what its author says that it does."""

    project: str
    language: str
    question: str
    code: str


def functions(folder: Path) -> Iterator[Function]:
    """Read the functions with a doc comment in a folder of projects, each a folder.

    Yields:
        Each question once, in the order of paths; not the functions of tests and built files.
    """
    known = set()
    for path in sorted(folder.rglob("*")):
        language = _NAMES.get(path.suffix)
        inside = path.relative_to(folder)
        if language is None or not path.is_file() or _SKIPPED.search(str(inside).lower()):
            continue
        text = path.read_text("utf-8", errors="replace")
        for question, code in _python(text) if language == "Python" else _other(text, path.suffix):
            asked = " ".join(_SENTENCE_END.split(question.strip())[0].split())
            words = len(asked.split())
            if words >= FEWEST_WORDS and asked not in known and code.count("\n") < MOST_LINES:
                known.add(asked)
                yield Function(inside.parts[0], language, asked, textwrap.dedent(code).strip())


def _python(text: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    lines = text.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or len(node.body) < 2:
            continue
        docstring = ast.get_docstring(node)
        if docstring:
            spoken = node.body[0]
            head = lines[node.lineno - 1 : spoken.lineno - 1]
            yield docstring, "\n".join([*head, *lines[spoken.end_lineno or 0 : node.end_lineno]])


def _other(text: str, suffix: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not _HEADS[suffix].match(line):
            continue
        question = _block(lines, number) if suffix == ".js" else _run(lines, number, suffix)
        if question:
            if suffix == ".go":  # Go's comments start with the function's name
                question = question.partition(" ")[2]
            yield question, "\n".join(_body(lines, number))


def _run(lines: list[str], number: int, suffix: str) -> str:
    """Return the comment that ends above a line, where every line starts with the mark."""
    first, mark = number, _COMMENTS[suffix]
    while first and (mark.match(lines[first - 1]) or lines[first - 1].lstrip().startswith("#[")):
        first -= 1
    told = [mark.sub("", line, 1) for line in lines[first:number] if mark.match(line)]
    return "\n".join(told)


def _block(lines: list[str], number: int) -> str:
    """Return the block comment that ends above a line."""
    if not number or not lines[number - 1].rstrip().endswith("*/"):
        return ""
    first = number - 1
    while first and "/**" not in lines[first]:
        first -= 1
    told = (re.sub(r"^\s*/?\*+/? ?|\*/\s*$", "", line) for line in lines[first:number])
    return "\n".join(told)


def _body(lines: list[str], number: int) -> list[str]:
    """Return a function's lines: to the first that ends it at its own indentation."""
    head = lines[number]
    indent = head[: len(head) - len(head.lstrip())]
    for end in range(number, min(number + MOST_LINES + 1, len(lines))):
        if re.match(re.escape(indent) + r"(?:\}|end\b)", lines[end]) or (
            end == number and head.rstrip().endswith("}")
        ):
            return lines[number : end + 1]
    return lines[number : number + MOST_LINES + 1]

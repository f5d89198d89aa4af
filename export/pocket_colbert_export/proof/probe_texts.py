"""Texts to calibrate on, to compare graphs on, and to prove parity on."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

from pocket_colbert_export.errors import CalibrationError
from pocket_colbert_export.text_files import read_lines, read_objects

_EDGE_CASES = (
    "",
    "a",
    " ",
    "The capital of France is Paris.",
    "MiXeD CaSe, punctuation!? (and) [brackets] {braces} <tags> ... -- #hash @at $5 %10 &co *x*",
    "\N{GRINNING FACE} emoji \N{ROCKET}\N{PARTY POPPER} and a family "
    "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "naïve café, Ελληνικά, русский, 東京の天気, العربية, हिन्दी, 한국어",
    "def f(x: int) -> int:\n\treturn x ** 2  # square\n\n",
    "https://example.org/a/b?c=d&e=f#g user@example.org 192.168.0.1 3.14159e-10",
    "Pneumonoultramicroscopicsilicovolcanoconiosis " * 3,
    "[CLS] [SEP] [MASK] [PAD] <s> </s> literal special tokens in a text",
    "zero\u200bwidth \u00a0 non-breaking\u2028separator",
)
_LENGTHS = (2, 5, 17, 31, 32, 33, 64, 100, 127, 128, 200, 299, 300, 511, 600)


def probe_pairs() -> list[tuple[str, str]]:
    """Return the (query, passage) pairs that ship with the exporter."""
    resource = importlib.resources.files("pocket_colbert_export.proof") / "data" / "probe.jsonl"
    rows = [json.loads(line) for line in resource.read_text(encoding="utf-8").splitlines()]
    return [(row["query"], row["passage"]) for row in rows]


def parity_texts() -> list[str]:
    """Return texts of many lengths and kinds: empty, emoji, scripts, 2 to 600 words."""
    words = " ".join(passage for _, passage in probe_pairs()).split()
    return [*_EDGE_CASES, *(" ".join(words[:length]) for length in _LENGTHS)]


def read_calibration(path: Path) -> list[str]:
    """Read calibration text.

    Args:
        path: A `.txt` file with a text a line, or a `.jsonl` file whose objects have `text`,
            `passage`, `query` or `title` (all are taken); either may be gzipped.

    Returns:
        The texts that are not empty.

    Raises:
        CalibrationError: The file is missing, is not of that form, or holds no text.
    """
    texts: list[str] = []
    if ".jsonl" not in path.suffixes:
        texts = [line.strip() for _, line in read_lines(path, CalibrationError)]
    else:
        for where, row in read_objects(path, CalibrationError):
            keys = [key for key in ("query", "title", "text", "passage") if key in row]
            if not keys:
                raise CalibrationError(
                    f"{where}: expected a key 'text', 'passage', 'query' or 'title', got "
                    f"{sorted(row)}."
                )
            texts.extend(str(row[key]).strip() for key in keys)
    texts = [text for text in texts if text]
    if not texts:
        raise CalibrationError(f"{path} holds no text.")
    return texts

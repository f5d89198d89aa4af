"""Bytes to text: which encoding they are in, and what never gets into an index."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from pocket_colbert.ingest.extracted import BinaryFileError

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_STATEFUL = re.compile(r"iso2022|hz")
"""Encodings of seven bits, whose bytes are UTF-8 too but mean something else."""
_SAFE = re.compile(
    r"(utf_?-?(8|16|32)|iso|cp|windows|koi8|mac|big5|gb|euc|shift|hz|latin|ascii|tis|johab|ptcp|kz)"
)
_WESTERN = re.compile(
    r"(cp125[02478]|iso8859|latin|mac|cp437|cp8|cp77|cp5|cp1006|cp1140|hp|ptcp|kz)"
)
_SAMPLE = 65_536
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])"
)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_BREAKS = re.compile("\r\n?|[\x0c\x85]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_DECLARED_XML = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})""")
_DECLARED_HTML = re.compile(
    rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([A-Za-z0-9._:-]{1,40})""", re.I
)
_DECLARED_CODE = re.compile(rb"^[ \t\f]*#.{0,100}?coding[:=][ \t]*([-\w.]{1,40})", re.M)


class Decoded(NamedTuple):
    """A text and the encoding it was read in.

    Attributes:
        text: The text, cleaned.
        assumed: The encoding if it was guessed, "" if the bytes say it or leave no doubt.
    """

    text: str
    assumed: str


def decode(data: bytes, declared: str | None = None) -> Decoded:
    r"""Decode the bytes of a text file.

    Args:
        data: The bytes.
        declared: The encoding that the file or its envelope names, which UTF-8 goes before.

    Returns:
        The text without control characters, its lines ending in "\n", and how it was decoded.

    Raises:
        BinaryFileError: The bytes are no text.
    """
    name, assumed = _encoding(data, declared)
    text = data.decode(name, "replace" if assumed else "strict")
    return Decoded(clean(text), assumed)


def clean(text: str) -> str:
    """Remove what no index may hold: NULs, controls, terminal escapes, lone surrogates."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", _BREAKS.sub("\n", text))


def readable(text: str) -> str:
    """Remove soft hyphens and zero-width spaces as well, for texts that a reader puts together."""
    return _INVISIBLE.sub("", text)


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that the head of an HTML, XML or Python file names, if it does."""
    head = data[:4096]
    match = _DECLARED_XML.search(head[:300]) or _DECLARED_HTML.search(head)
    if match is None:
        match = _DECLARED_CODE.search(b"\n".join(head.split(b"\n", 2)[:2]))
    return match[1].decode("ascii") if match else None


def _encoding(data: bytes, declared: str | None) -> tuple[str, str]:
    """Return the encoding to use, and the same again if it is a guess."""
    for bom, name in _BOMS:
        if data.startswith(bom) and _decodes(data, name):
            return name, ""
    if b"\0" in data:
        wide = _from_nuls(data)
        if wide is None:
            raise BinaryFileError
        return wide, wide
    named = _codec(declared)
    if named and _STATEFUL.match(named) and _decodes(data, named):
        return named, ""
    if _decodes(data, "utf-8"):
        if _control_share(data) > 0.1:
            raise BinaryFileError
        return "utf-8", ""
    if named and named != "utf-8" and _decodes(data, named):
        return named, ""
    name = _guess(data)
    return name, name


def _codec(name: str | None) -> str | None:
    """Return Python's name of a text encoding; what pages call Latin-1 is Windows-1252."""
    try:
        found = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    if not _SAFE.match(found) or found.startswith("utf-16"):  # it would have NULs
        return None
    return "cp1252" if found in ("iso8859-1", "ascii") else found


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except (UnicodeError, ValueError):
        return False
    return True


def _from_nuls(data: bytes) -> str | None:
    """Recognise UTF-16 and UTF-32 without a mark by where the zero bytes are."""
    sample = data[: _SAMPLE // 4 * 4]
    nuls = [sample[start::4].count(0) / max(len(sample[start::4]), 1) for start in range(4)]
    candidates = []
    if len(data) % 4 == 0:
        if nuls[2] > 0.95 and nuls[3] > 0.95:
            candidates.append("utf-32-le")
        if nuls[0] > 0.95 and nuls[1] > 0.95:
            candidates.append("utf-32-be")
    if len(data) % 2 == 0:
        even, odd = sum(nuls[0::2]), sum(nuls[1::2])
        if odd > 20 * even:
            candidates.append("utf-16-le")
        if even > 20 * odd:
            candidates.append("utf-16-be")
    for name in candidates:
        try:
            text = data.decode(name)
        except UnicodeError:
            continue
        head = text[:4096]
        # Numbers of 16 bits in an array are rarely all letters and spaces.
        if sum(c.isprintable() or c in "\n\r\t" for c in head) > 0.97 * len(head):
            return name
    return None


def _control_share(data: bytes) -> float:
    sample = data[:_SAMPLE]
    text = sample.translate(None, bytes(set(range(32)) - {8, 9, 10, 12, 13, 27}))
    return (len(sample) - len(text)) / max(len(sample), 1)


def _guess(data: bytes) -> str:
    """Guess an encoding of eight bits, or raise BinaryFileError."""
    import charset_normalizer

    if _control_share(data) > 0.01:
        raise BinaryFileError
    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:  # the first part may be all ASCII
        rest = re.search(rb"[\x80-\xff]", data[_SAMPLE:])
        start = _SAMPLE + rest.start() if rest else 0
        if not re.search(rb"[\x80-\xff]", sample):
            sample = data[max(start - 1000, 0) : start + _SAMPLE]
    high = len(re.findall(rb"[\x80-\xff]", sample))
    letters = len(re.findall(rb"[A-Za-z]", sample))
    best = charset_normalizer.from_bytes(sample).best()
    name = best.encoding if best is not None else None
    # Where only a few letters have accents, code pages of Europe differ by those alone, and a
    # short text tells them apart no better than chance.
    western = name is None or (_WESTERN.match(name) and high < 50)
    if high < 0.3 * letters and western and _decodes(sample, "cp1252"):
        return "cp1252"
    if name is None or name.startswith("utf"):
        raise BinaryFileError
    return _codec(name) or name

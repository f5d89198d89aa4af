"""The escapes of roff, the markup of manual pages, as text."""

from __future__ import annotations

import re
from collections.abc import Mapping

CHARACTERS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "bq": "‚", "Bq": "„",
    "Fo": "«", "Fc": "»", "fo": "‹", "fc": "›", "hy": "-", "en": "–", "em": "—", "bu": "•",
    "ha": "^", "ti": "~", "ga": "`", "rs": "\\", "co": "©", "rg": "®", "tm": "™", "de": "°",
    "mu": "×", "di": "÷", "+-": "±", "<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "<-": "←",
    "<>": "↔", "ua": "↑", "da": "↓", "sc": "§", "sl": "/", "ba": "|", "br": "│", "ul": "_",
    "at": "@", "sh": "#", "Do": "$", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "⟨",
    "ra": "⟩", "ct": "¢", "Po": "£", "Ye": "¥", "Eu": "€", "eu": "€", "12": "½", "14": "¼",
    "34": "¾", "mi": "−", "pl": "+", "eq": "=", "**": "*", "*a": "α", "*b": "β", "*m": "μ",
    "*p": "π", "lh": "☜", "rh": "☞", "ss": "ß", "ae": "æ", "oe": "œ", "AE": "Æ", "o/": "ø",
    "/o": "ø", "oa": "å", ":a": "ä", ":o": "ö", ":u": "ü", ":A": "Ä", ":O": "Ö", ":U": "Ü",
    "'e": "é", "'a": "á", "'o": "ó", "'i": "í", "'u": "ú", "`e": "è", "`a": "à", "^e": "ê",
    "^o": "ô", ",c": "ç", "~n": "ñ", "fi": "fi", "fl": "fl", "ff": "ff", "Fi": "ffi", "Fl": "ffl",
    "if": "∞", "no": "¬", "cm": ",", "a^": "^", "a~": "~", "OK": "✓", "dd": "‡", "dg": "†",
    "bv": "|", "or": "|", "ci": "○", "sq": "□", "ps": "¶", "fm": "′", "sd": "″",
}  # fmt: skip
"""Special characters by the names that manual pages use."""

STRINGS = {
    "R": "®", "Tm": "™", "lq": "“", "rq": "”", "Aq": "'", "C`": '"', "C'": '"', "L\"": '"',
    "R\"": '"', "--": "--", "PI": "π", "S": "", "Lq": "“", "Rq": "”", "Le": "<=", "Ge": ">=",
    "Lt": "<", "Gt": ">", "Ne": "!=", "Pm": "±", "Ba": "|", "q": '"', "<=": "<=", ">=": ">=",
}  # fmt: skip
"""Strings that are defined before a page begins."""

_ESCAPE = re.compile(
    r"\\(?:"
    r"f(?:\[[^\]\n]{0,40}\]|\(..|.)"
    r"|[mMFgkOVY](?:\[[^\]\n]{0,80}\]|\(..|.)"
    r"|s(?:[+-]?\d|[+-]?\(..|[+-]?\[[^\]\n]{0,20}\]|'[^'\n]{0,20}')"
    r"|[hvwlLbDXZRBASxH]'(?P<quoted>[^'\n]{0,400})'"
    r"|o'(?P<over>[^'\n]{1,20})'"
    r"|N'(?P<code>\d{1,7})'"
    r"|C'(?P<named>[^'\n]{1,20})'"
    r"|n(?:[+-]?\[[^\]\n]{0,40}\]|[+-]?\(..|[+-]?.)"
    r"|\*(?:\[(?P<string>[^\]\n]{0,80})\]|\((?P<string2>..)|(?P<string1>.))"
    r"|\((?P<two>..)"
    r"|\[(?P<long>[^\]\n]{1,80})\]"
    r"|(?P<one>.)|$)"
)
_ONES = {"-": "-", "e": "\\", "\\": "\\", "~": " ", " ": " ", "0": " ", "t": "\t", ".": ".",
         "'": "’", "`": "‘", "_": "_", '"': "", "E": "\\"}  # fmt: skip


def plain(text: str, strings: Mapping[str, str]) -> str:
    r"""Return a line with its escapes replaced by what they show.

    Args:
        text: The line.
        strings: Texts by name, which `\*` puts in; escapes in them are replaced too, once.
    """
    if "\\" not in text:
        return text

    def shown(match: re.Match[str], inner: bool = False) -> str:
        for group in ("string", "string2", "string1"):
            if match[group] is not None:
                value = strings.get(match[group], "")
                return value if inner else _ESCAPE.sub(lambda m: shown(m, True), value)
        if match["one"] is not None:
            return _ONES.get(match["one"], "" if match["one"] in _NOTHING else match["one"])
        name = match["two"] or match["long"] or match["named"]
        if name is not None:
            return _character(name)
        if match["over"] is not None:
            return match["over"][0]
        if match["code"] is not None:
            return _from_code(int(match["code"]))
        return ""

    return _ESCAPE.sub(shown, text)


_NOTHING = "&|^%:/,cdurpz{}!?)aj"
"""Escapes of one character that show nothing."""


def _character(name: str) -> str:
    known = CHARACTERS.get(name)
    if known is not None:
        return known
    code = re.fullmatch(r"u([0-9A-Fa-f]{4,6})(?:_[0-9A-Fa-f_]*)?", name)
    if code:
        return _from_code(int(code[1], 16))
    if name.startswith("char") and name[4:].isdecimal() and len(name) < 12:
        return _from_code(int(name[4:]))
    return "" if len(name) > 2 else name


def _from_code(code: int) -> str:
    return chr(code) if 32 <= code < 0xD800 or 0xE000 <= code < 0x110000 else ""

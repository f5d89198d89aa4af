"""The macros of mdoc(7), which name what words mean rather than their fonts."""

from __future__ import annotations

from typing import Any

_ENCLOSE = {
    "Op": ("[", "]"), "Dq": ("“", "”"), "Sq": ("‘", "’"), "Ql": ("‘", "’"), "Pq": ("(", ")"),
    "Bq": ("[", "]"), "Brq": ("{", "}"), "Aq": ("<", ">"), "Qq": ('"', '"'), "Eq": ("", ""),
    "Oq": ("[", "]"),
}  # fmt: skip
_OPEN = {"Oo": "[", "Po": "(", "Bo": "[", "Do": "“", "Qo": '"', "So": "‘", "Ao": "<", "Bro": "{",
         "Eo": ""}  # fmt: skip
_CLOSE = {"Oc": "]", "Pc": ")", "Bc": "]", "Dc": "”", "Qc": '"', "Sc": "’", "Ac": ">", "Brc": "}",
          "Ec": ""}  # fmt: skip
_SYSTEMS = {"Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD",
            "Dx": "DragonFly", "Bsx": "BSD/OS", "At": "AT&T UNIX"}  # fmt: skip
_STYLES = {
    "Ar", "Cm", "Ic", "Pa", "Ev", "Em", "Sy", "Li", "Va", "Vt", "Fa", "Ft", "Er", "Dv", "Tn",
    "An", "Ad", "Cd", "Fl", "Nm", "No", "Sx", "Mt", "Ms", "St", "Lb", "Fd", "Bt", "Nd", "%A",
    "%T", "%B", "%J", "%I", "%D", "%V", "%N", "%P", "%R", "%O", "%Q", "%U", "%C",
}  # fmt: skip
_SPECIAL = {"Xr", "Fn", "In", "Lk", "Ns", "Ap", "Pf", "Xo", "Xc", "Ta"}
CALLABLE = {*_ENCLOSE, *_OPEN, *_CLOSE, *_SYSTEMS, *_STYLES, *_SPECIAL}
"""Macros that may also stand in the line of another."""
_PUNCTUATION = {".", ",", ";", ":", ")", "]", "?", "!"}
_OPENING = {"(", "["}
_HIDDEN_ARGUMENTS = {"-split", "-nosplit", "-std", "-words", "-emphasis", "-symbolic"}


class Mdoc:
    """Reads requests of mdoc(7) for a page."""

    BLOCKS = {
        "Dd", "Dt", "Os", "Sh", "Ss", "Pp", "Lp", "Bl", "It", "El", "Bd", "Ed", "D1", "Dl", "Sm",
        "Bk", "Ek", "Rs", "Re", "Fo", "Fc", "Ex", "Rv", "Tg", "Ud", "Hf", "Bf", "Ef", "Db", "Es",
        "En",
    }  # fmt: skip
    """Macros that only begin a line."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._name = ""
        self._lists: list[str] = []
        self._spaced = True
        self._glue = True
        self._words: list[str] = []
        self._head_open = 0
        self._in_head = False

    def request(self, name: str, tokens: list[str]) -> None:
        """Handle one line.

        Args:
            name: The macro that begins it.
            tokens: What follows, quotes removed.
        """
        page = self._page
        if name == "Dt":
            values = [page.plain(token) for token in tokens]
            if values:
                page.title = values[0].lower() + (f"({values[1]})" if len(values) > 1 else "")
        elif name in ("Sh", "Ss"):
            self._in_head, self._spaced = False, True
            page.heading(1 if name == "Sh" else 2, self._line(tokens))
        elif name in ("Pp", "Lp"):
            page.flush() if self._lists else page.paragraph()
        elif name in ("Bl", "El", "It"):
            self._list(name, tokens)
        elif name in ("Bd", "Ed"):
            page.verbatim(name == "Bd" and bool({"-literal", "-unfilled"} & set(tokens)))
        elif name in ("D1", "Dl"):
            page.flush()
            page.text(self._line(tokens))
            page.flush("code")
        elif name == "Sm":
            self._spaced = tokens[:1] != ["off"]
        elif name in ("Ex", "Rv"):
            who = page.plain(tokens[1]) if len(tokens) > 1 else self._name
            page.text(
                f"The {who} utility exits 0 on success, and >0 if an error occurs."
                if name == "Ex" else f"The {who}() function returns 0 if successful."
            )  # fmt: skip
        elif name == "Re":
            page.flush()
        elif name == "Fo":
            self._add(self._line(tokens) + "(", opens=True)
        elif name == "Fc":
            self._attach(")")
        elif name not in self.BLOCKS:
            self._inline([name, *tokens])

    def _list(self, name: str, tokens: list[str]) -> None:
        page = self._page
        page.flush("item" if self._lists else None)
        if name == "Bl":
            kinds = [token for token in tokens if token.startswith("-")]
            self._lists.append(kinds[0] if kinds else "-item")
            page.item()
        elif name == "El":
            if self._lists:
                self._lists.pop()
            if not self._lists:
                page.paragraph()
        else:
            kind = self._lists[-1] if self._lists else "-tag"
            page.item()
            if kind in ("-bullet", "-dash", "-hyphen"):
                page.text("- ", continued=True)
            elif kind == "-column":
                cells: list[list[str]] = [[]]
                for token in tokens:
                    if token == "Ta" or not token.strip():
                        cells.append([])
                    else:
                        cells[-1].append(token)
                page.text(" | ".join(filter(None, map(self._line, cells))))
            else:
                self._in_head = True
                self._head_open = 0
                self._inline(["No", *tokens])
                self._end_head()

    def _end_head(self) -> None:
        if self._in_head and not self._head_open:
            self._in_head = False
            self._page.flush("item")

    def _inline(self, tokens: list[str]) -> None:
        text = self._line(tokens)
        page = self._page
        if page.kept_lines:
            page.add_line(text)
        else:
            starts = tokens and tokens[0] == "Ns"
            if starts or text[:1] in _PUNCTUATION and len(text) == 1:
                page.text("", continued=True)
            page.text(text, continued=self._glue or (not self._spaced and not self._in_head))
        self._end_head()

    def _line(self, tokens: list[str]) -> str:
        """Return what a line of macros shows."""
        self._words, self._glue = [], True
        tail: list[str] = []
        while tokens and tokens[-1] in _PUNCTUATION:
            tail.append(tokens[-1])
            tokens = tokens[:-1]
        closers = self._write(tokens)
        for closer in reversed(closers):
            self._attach(closer)
        for mark in reversed(tail):
            self._attach(mark)
        return "".join(self._words)

    def _write(self, tokens: list[str]) -> list[str]:
        """Write the words of a line; return what closes it."""
        closers: list[str] = []
        style, pending, at = "", "", 0
        plain = self._page.plain
        while at < len(tokens):
            token = tokens[at]
            at += 1
            if token not in CALLABLE:
                pending = ""
                if token in _HIDDEN_ARGUMENTS and style == "An":
                    continue
                if token in _PUNCTUATION:
                    self._attach(token)
                elif token in _OPENING:
                    self._add(token, opens=True)
                else:
                    text = plain(token)
                    self._add("-" + text if style == "Fl" else text)
                continue
            if pending:
                self._add(pending, opens=pending == "-" and token in _STYLES)
                pending = ""
            style = token
            if token in _ENCLOSE:
                self._add(_ENCLOSE[token][0], opens=True)
                closers.append(_ENCLOSE[token][1])
            elif token in _OPEN:
                self._add(_OPEN[token], opens=True)
            elif token in _CLOSE:
                self._attach(_CLOSE[token])
            elif token in _SYSTEMS:
                self._add(_SYSTEMS[token])
                if (
                    token in ("Bx", "Fx", "Nx", "Ox")
                    and at < len(tokens)
                    and tokens[at][:1].isdigit()
                ):
                    self._words[-1] = (
                        tokens[at] + "BSD" if token == "Bx" else f"{_SYSTEMS[token]} {tokens[at]}"
                    )
                    at += 1
            elif token == "Xr" and at < len(tokens):
                section = tokens[at + 1] if at + 1 < len(tokens) else ""
                has_section = section[:1].isdigit()
                self._add(plain(tokens[at]) + (f"({section})" if has_section else ""))
                at += 1 + has_section
                style = ""
            elif token == "Fn" and at < len(tokens):
                self._add(plain(tokens[at]) + "(" + ", ".join(map(plain, tokens[at + 1 :])) + ")")
                break
            elif token == "In" and at < len(tokens):
                self._add(f"<{plain(tokens[at])}>")
                at += 1
            elif token == "Lk" and at < len(tokens):
                words = " ".join(map(plain, tokens[at + 1 :]))
                self._add(f"{words}: {plain(tokens[at])}" if words else plain(tokens[at]))
                break
            elif token == "Ns":
                self._glue = True
            elif token == "Ap":
                self._attach("'")
                self._glue = True
            elif token == "Pf" and at < len(tokens):
                self._add(plain(tokens[at]), opens=True)
                at += 1
            elif token == "Xo":
                self._head_open += 1
            elif token == "Xc":
                self._head_open = max(self._head_open - 1, 0)
            elif token == "Nm":
                if at < len(tokens) and tokens[at] not in CALLABLE | _PUNCTUATION:
                    self._name = self._name or plain(tokens[at])
                else:
                    self._add(self._name)
            elif token == "Nd":
                self._add("–")
            else:
                pending = {"Ar": "file ...", "Fl": "-", "Pa": "~"}.get(token, "")
        if pending:
            self._add(pending)
        return closers

    def _add(self, text: str, *, opens: bool = False) -> None:
        if self._words and not self._glue and self._spaced and text:
            self._words.append(" ")
        self._words.append(text)
        self._glue = opens

    def _attach(self, text: str) -> None:
        self._words.append(text)
        self._glue = False

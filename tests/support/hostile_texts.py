"""Texts that a reader with a fault takes more than linear time for: one pattern, many times."""

from __future__ import annotations

HTML = [
    "<a ", "<!--", "</", "<?", "<a b='", "<a b=\"'", "<div>", "<b>", "<table>", "<font color=%d>",
    "<a %d ", "<x%d hidden>", "<b x=%d>", "<svg>", "<select>", "<span hidden>", "<a b=>",
    "<ul><li>", "<title>", "<script>", "<p>", "&", "<td>", "<b><p>", "< ", "<h1>", "<template>",
]  # fmt: skip
OTHERS = [
    *(("man", p) for p in (".if n \\{\n", ".de a\n", ".de a\n.a\n..\n.a\n", "x\\\n", ".Op Op ",
                           ".am a\nx\n..\n", ".TS\n", "\\f[", ".It Xo\n")),
    *(("markdown", p) for p in ("[", "*a **a ", "> ", "- ", "`", "![](", "<a ", "|a", "<!--",
                                "a\n=\n", "_a_", "[a]: b\n", "1. ", "***")),
    *(("rst", p) for p in ("`", "..", "==\n", ".. a::\n", "a\n=====\n")),
    *(("asciidoc", p) for p in ("= ", "<<", "*a", "|")), ("org", "* a :a:\n"), ("org", "[["),
    *(("latex", p) for p in ("\\section{", "{", "\\begin", "$", "%")),
    *(("json", p) for p in ("[1,", '{"a":', '"')), ("csv", '"'), ("csv", ","), ("tsv", "a\t"),
    *(("xml", p) for p in ("<a>", "<a ", "<!--", "&", "<![CDATA[")),
    *(("subtitles", p) for p in ("0:00.0-->\n", "<", "{\\")), ("mailbox", "From \n\nFrom "),
    *(("email", p) for p in ("A: b\n", "a", "=?utf-8?q?", "Subject: =?a?q?=")),
    *(("code", p) for p in ("def a", "class a:\n", "@\n", " ", "pub async ")),
    ("rtf", "{\\rtf1 "), ("rtf", "\\'e9"), ("text", "\x1b["), ("text", "\x1b]"),
]  # fmt: skip
"""Kinds of files and patterns."""


def repeated(pattern: str, size: int) -> str:
    """Return a text of about `size` characters; `%d` in a pattern is another number each time."""
    count = size // len(pattern)
    return "".join(pattern % n for n in range(count)) if "%d" in pattern else pattern * count

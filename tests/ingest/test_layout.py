"""Readers keep where code, tables and links are, for whoever shows the text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.ingest.extracted import Deadline, TextBuilder
from pocket_colbert.ingest.inline_marks import InlineMarks
from pocket_colbert.ingest.markdown_reader import read_markdown
from pocket_colbert.ingest.readers import in_parts, read_sources

MARKDOWN = """# Keys with `code` and [a link](https://no.example)

Use **two** at _a_ time, `rm -rf`, [the *guide*](https://example.com/g "t"), <mailto:ops@a.example>,
![a picture](https://p.example/x.png) or [a page](other.md) and [bad](javascript:x).

- an [item](http://i.example)

```python title="x"
[no](https://code.example)
```

| key | value |
|-----|-------|
| **a** | 1 |

<pre>html</pre>
"""


def parts_of(text: str, layout: str) -> list[tuple[str, str]]:
    """Return the parts of a layout as (text, kind)."""
    found = [re.fullmatch(r"(\d+)\+(\d+):(\S+)", part) for part in layout.split()]
    return [(text[int(m[1]) : int(m[1]) + int(m[2])], m[3]) for m in found if m]


def read(source: str) -> Any:
    """Read Markdown."""
    return read_markdown(source, Deadline(60))


def test_markdown_keeps_its_layout() -> None:
    extracted = read(MARKDOWN)
    assert parts_of(extracted.text, extracted.layout) == [
        ("two", "strong"),
        ("a", "em"),
        ("rm -rf", "span"),
        ("the guide", "link:https://example.com/g"),
        ("guide", "em"),
        ("mailto:ops@a.example", "link:mailto:ops@a.example"),
        ("item", "link:http://i.example"),
        ("[no](https://code.example)", "code:python"),
        ("key | value\na | value: 1", "table"),
        ("a", "strong"),
    ]
    assert extracted.title == "Keys with code and a link"
    assert not re.search("[\ufdd0-\ufdef]", extracted.text + extracted.title)


@given(
    st.text(
        alphabet="ab *_`[](){}<>!\\\n|-#\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5 0:/https", max_size=80
    )
)
def test_marks_never_stay_in_a_text(source: str) -> None:
    extracted = read(source)
    assert not re.search("[\ufdd0-\ufdef]", extracted.text)
    for text, kind in parts_of(extracted.text, extracted.layout):
        assert text
        assert re.fullmatch(
            r"code(:[\w+#.-]+)?|table|span|strong|em|link:(https?://|mailto:)\S+", kind
        )


@given(st.text(max_size=60), st.sampled_from(["code", "strong", "em"]))
def test_taking_marks_out_gives_the_text_back(text: str, kind: str) -> None:
    marks = InlineMarks()
    clean = marks.cleaned(text)
    shown, found = marks.taken_out("x" + marks.styled(clean, kind) + "y")
    assert shown == f"x{clean}y"
    assert [shown[mark.start : mark.end] for mark in found] == ([clean] if clean else [])


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "data:text/html,x", "other.md", "//host/x", "https://a b", "https://",
     "https://a\u2028b", "https://" + "a" * 600, "ftp://x", ""],
)  # fmt: skip
def test_only_links_that_may_be_followed_are_kept(address: str) -> None:
    assert InlineMarks().link("words", address) == "words"


def test_html_keeps_code_and_tables(tmp_path: Path) -> None:
    page = (
        "<h1>A</h1><pre class='language-rust'>fn a() {}</pre>"
        "<table><tr><th>k<th>v<tr><td>1<td>2</table><p>1 | 2</p>"
    )
    (tmp_path / "a.html").write_text(page)
    (document,) = read_sources([tmp_path], tmp_path)
    assert parts_of(document.text or "", document.metadata["layout"]) == [
        ("fn a() {}", "code:rust"),
        ("k | v\n1 | v: 2", "table"),
    ]


def test_parts_of_a_long_text_have_the_layout_of_theirs() -> None:
    builder = TextBuilder(Deadline(60))
    for n in range(30):
        builder.block(f"Paragraph {n} is about bees.")
        builder.block(f"code {n} " * 4, kind="code", language="python")
    extracted = builder.result()
    from pocket_colbert import Document

    whole = Document("a", extracted.text, metadata={"layout": extracted.layout})
    parts = list(in_parts(whole, 400))
    assert len(parts) > 3
    found = [parts_of(part.text or "", part.metadata["layout"]) for part in parts]
    assert sum(map(len, found)) >= 30
    for inside in found:
        for text, kind in inside:
            assert kind == "code:python" and set(text) <= set("code 0123456789")


def test_a_layout_has_an_end() -> None:
    builder = TextBuilder(Deadline(60))
    for n in range(5000):
        builder.block(builder.marks.link(f"w{n}", "https://a.example"))
        builder.block("x", kind="code")
    assert len(builder.layout.split()) == 2000

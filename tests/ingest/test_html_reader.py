"""What is read of an HTML page, however carelessly it is written."""

from __future__ import annotations

import pytest

from pocket_colbert.ingest import html_reader


def read_html(page: str) -> tuple[str | None, str]:
    """Return the title of a page and its text."""
    found = html_reader.read_html(page)
    return found.title, found.text


@pytest.mark.parametrize(
    ("page", "title", "text"),
    [
        ("<head><title>T</title></head><body><p>text", "T", "text"),
        ("<head><meta charset=utf-8><title>T</title><body><p>text", "T", "text"),
        ("<!doctype html><title>T</title><h1>One</h1>two", "T", "One\n\ntwo"),
        ("<silent>text</silent>", None, "text"),
        ("<head><link rel=x><style>p {}</style><script>x()</script>text", None, "text"),
        ("<head><noscript><p>no</p></noscript><template>no</template></head>text", None, "text"),
    ],
)
def test_pages_are_read_with_and_without_the_tags_that_may_be_left_out(
    page: str, title: str | None, text: str
) -> None:
    assert read_html(page) == (title, text)


@pytest.mark.parametrize(
    "tag", ["<body>", "</head>", "<meta charset=utf-8>", "<p>", "<style></style>"]
)
def test_a_title_that_is_not_closed_ends_at_the_next_tag_that_no_title_has(tag: str) -> None:
    assert read_html(f"<head><title>Opening hours{tag}Nine to five") == (
        "Opening hours",
        "Nine to five",
    )


def test_a_title_may_hold_entities_and_inline_tags() -> None:
    assert read_html("<title>Bees &amp; <i>hives</i></title><p>text") == ("Bees & hives", "text")


@pytest.mark.parametrize(
    "page",
    [
        "<title>T</title><body><svg><title>Menu</title></svg>",
        "<svg><title>Menu</title></svg><title>T</title>",
        "<title>T</title><body><title>Menu</title>",
    ],
)
def test_the_first_title_outside_of_drawings_is_the_pages(page: str) -> None:
    assert read_html(page)[0] == "T"


def test_preformatted_text_keeps_its_lines_and_indentation() -> None:
    page = "<p>So   it\n  goes:<pre>\ndef f():\n\n    return <b>1</b>  \n</pre>and  <i>on</i>"
    assert read_html(page) == (
        None,
        "So it goes:\n\ndef f():\n\n    return 1\n\nand on",
    )


@pytest.mark.parametrize(
    "tag", ["aside", "center", "details", "fieldset", "legend", "summary", "dd", "dt"]
)
def test_words_of_neighbouring_blocks_stay_apart(tag: str) -> None:
    assert read_html(f"<{tag}>one</{tag}><{tag}>two</{tag}>three")[1].split() == [
        "one", "two", "three",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "page",
    [
        "<header>All of it.</header>",
        "<form>All of it.</form>",
        "<nav>All of it.</nav>",
        "<main></main><p>All of it.",
        "<div class=sidebar>All of it.</div>",
        "<div style='display: none'>All of it.</div>",
        "<title>All of it.</title><header><h1>All of it.</h1></header>",
    ],
)
def test_no_page_with_text_comes_out_empty(page: str) -> None:
    assert read_html(page)[1] == "All of it."


def test_navigation_head_and_foot_and_what_is_hidden_are_left_out() -> None:
    page = (
        "<header><a href=/>Home</a></header><nav>Menu</nav><main><p>One.<span hidden>no</span>"
        "<p aria-hidden=true>no<p>Two.<div class='toc'><a href=#1>no</a></div></main>"
        "<footer>Imprint</footer>"
    )
    assert read_html(page)[1] == "One.\n\nTwo."


def test_lists_definitions_tables_and_breaks() -> None:
    page = (
        "<ul><li>one<ul><li>deep</ul><li>two</ul><ol start=3><li>three</ol><dl><dt>term<dd>what "
        "it is</dl><table><tr><th>Name<th>Port<tr><td>ssh<td>22</table><p>a<br>b soft&shy;hyphen"
        "<details><summary>More</summary>text</details>"
    )
    assert read_html(page)[1] == (
        "- one\n  - deep\n- two\n3. three\nterm\nwhat it is\n\nName | Port\nssh | Port: 22\n\n"
        "a\nb softhyphen\n\nMore\n\ntext"
    )

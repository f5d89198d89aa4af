"""What is read of an HTML page, however carelessly it is written."""

from __future__ import annotations

import pytest

from pocket_colbert.ingest.html_reader import read_html


@pytest.mark.parametrize(
    ("page", "title", "text"),
    [
        ("<head><title>T</title></head><body><p>text", "T", "text"),
        ("<head><meta charset=utf-8><title>T</title><body><p>text", "T", "text"),
        ("<!doctype html><title>T</title><h1>One</h1>two", "T", "One\ntwo"),
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
    assert read_html(page) == ("T", "Menu")


def test_preformatted_text_keeps_its_lines_and_indentation() -> None:
    page = "<p>So   it\n  goes:<pre>\ndef f():\n\n    return <b>1</b>  \n</pre>and  <i>on</i>"
    assert read_html(page) == (
        None,
        "So it\ngoes:\ndef f():\n\n    return 1\nand on",
    )


@pytest.mark.parametrize(
    "tag", ["aside", "button", "center", "details", "fieldset", "legend", "option", "summary"]
)
def test_words_of_neighbouring_blocks_stay_apart(tag: str) -> None:
    assert read_html(f"<{tag}>one</{tag}><{tag}>two</{tag}>three")[1].split() == [
        "one", "two", "three",
    ]  # fmt: skip

"""How the page shows documents: rendered by what they are, and harmless whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pocket_colbert import Document, Encoder
from pocket_colbert.types import Section
from tests.support.pages import CHROMIUM, expect, opened, read, search, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
    pytest.mark.filterwarnings("ignore::pocket_colbert.errors.LanguageWarning"),
]

MARKDOWN = """# Rotate the keys

Use **two keys** at a time, see [the guide](https://example.com/guide?a=1), <https://a.example/b> or
write to <mailto:ops@example.com>. *Never* `rm -rf`; x < y, List<String>, AT&amp;T, snake_case_name.

## Steps

1. Make a key
   - [x] done
2. Tell the clients about bees

```python
def rotate(old: str) -> str:
    return old[::-1]  # bees swarm
```

| key | days |
|-----|------|
| web | 30   |
|     | 7    |

> Quoted advice, ~~old~~ new.

![A picture](https://example.com/p.png) [bad](javascript:alert(1)) [rel](other.md) [ref][r]

[r]: https://ref.example/
"""
EVIL = (
    '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>'
    "<svg onload=window.hurt=3></svg>"
)
HOSTILE_MARKDOWN = f"""# {EVIL} bees

[a](javascript:window.hurt=4) [b](JaVaScRiPt:window.hurt=5) [d](vbscript:x)
[c](data:text/html,<script>hurt</script>) <javascript:window.hurt=6>
[e]( javascript:window.hurt=7 "t") [f](https://ok.example/"onclick="x)
![img](https://evil.example/pixel.png) ![i](x" onerror="window.hurt=8)

{EVIL}

<iframe src="https://evil.example"></iframe><style>body{{display:none}}</style>
<a href="javascript:window.hurt=9" onclick="window.hurt=10">click</a>
<form action="https://evil.example"><input autofocus onfocus="window.hurt=11"></form>

```html" onmouseover="window.hurt=12
{EVIL}
```

| {EVIL} | b |
|---|---|
| [x](javascript:window.hurt=13) | &lt;script&gt;window.hurt=14&lt;/script&gt; |

&#60;script&#62;window.hurt=15&#60;/script&#62;

[r]: javascript:window.hurt=16
[r]
"""
HOSTILE_HTML = (
    f"<!doctype html><html><head><title>{EVIL}</title></head><body>{EVIL}<p>bees "
    "&lt;script&gt;window.hurt=17&lt;/script&gt;<a href='javascript:window.hurt=18'>x</a>"
    "<base href='https://evil.example'>"
)
LAYOUT = (
    "0+999999999:code:python 3+4:link:javascript:window.hurt=19 0+5:strong 2+9:em "
    "5+0:span "
    '8+3:link:https://x.example/"><script>window.hurt=20</script> 1+1:table 0+0:code:x '
    "999999+3:span"
)
DOCUMENTS = [
    Document("raw", MARKDOWN, "Rotate the keys", {"team": "ops"}),
    Document(
        "page",
        "<!doctype html><html><head><title>T</title><script>var bees=1;</script></head><body>"
        "<h1>Rotating pumps</h1><p>The pump &amp; the <b>valve</b>.<p>Second<ul><li>one</ul>"
        "<pre>a\n  b</pre></body></html>",
        "Pumps",
        {"team": "plant"},
    ),
    Document(
        "src/lib.py",
        'import os\n\n\ndef swarm(bees):\n    """Say\n    where."""\n    return os.path(bees)\n',
        "lib",
        {"kind": "code", "path": "src/lib.py"},
    ),
    Document(
        "guide.md",
        "Guide\n\nSome bold words and a link.\n\nSteps\n\n1. First\n2. Second\n  - nested\n\n"
        "def f(x):\n    return 1\n\nkey | value\na | value: 1\nb",
        "Guide",
        {
            "kind": "markdown", "path": "guide.md", "lines": "0:1 35:5",
            "layout": "12+4:strong 29+4:link:https://example.com/x 74+22:code:python 98+28:table",
        },
        sections=(Section(0, ("Guide",)), Section(36, ("Guide", "Steps"))),
    ),
    Document(
        "report.pdf",
        "Costs\nrose in March.\n\nBees were\nexpensive in April.",
        "Report",
        {"kind": "pdf", "path": "report.pdf", "pages": "0:1 22:2"},
        sections=(Section(0, ()), Section(22, ())),
    ),
    Document(
        f"evil{EVIL}", HOSTILE_MARKDOWN, f"Evil {EVIL}",
        {f"k{EVIL}": EVIL, "l": [EVIL], "n": {"a": EVIL}}, EVIL,
        (Section(0, (EVIL,)), Section(40, (EVIL, EVIL))),
    ),
    Document("evil-html", HOSTILE_HTML, "Evil HTML"),
    Document(
        "almanac",
        "\n\n".join(
            f"In month {n} the gardener rakes leaves, paints the fence and waits for rain. " * 12
            for n in range(12)
        ) + "\n\nBees leave the hive in May with the old queen.",
        "Almanac",
    ),
    Document(
        "evil-file", f"{EVIL} bees\n\nmore {EVIL}", "Evil file",
        {"kind": "markdown", "path": f"x{EVIL}", "layout": LAYOUT, "lines": "0:<b> 3:4",
         "pages": "0:1 2:x 9:9"},
        None, (Section(0, (EVIL,)),),
    ),
    Document(
        "evil-code", f"# {EVIL} bees\nx = '</span>{EVIL}'\r\n\0end", "Evil code",
        {"kind": "code", "path": f"a/{EVIL}.py", "lines": "1:99999999 5:0"},
    ),
]  # fmt: skip
HARM = """() => {
  const found = [];
  const shown = "#hits *, #facets *, #chips *, dialog *, #examples *";
  const bad = /^(script|iframe|img|svg|style|base|object|embed|link|meta)$/i;
  for (const element of document.querySelectorAll(shown)) {
    if (bad.test(element.tagName)) found.push(element.outerHTML);
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name)) found.push(`${name}=${value}`);
      if (name === "style" && !value.startsWith("--")) found.push(value);
      if (/^(href|src|action|formaction|srcset)$/i.test(name)) {
        const { protocol, origin } = new URL(value, location.href);
        if (!/^(https?|mailto):$/.test(protocol)) found.push(value);
        const outside = element.rel === "noopener noreferrer nofollow";
        if (origin !== location.origin && !outside) found.push(value);
      }
    }
  }
  if ("hurt" in window) found.push(`hurt ${window.hurt}`);
  return found;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[str]:
    """A server in a thread."""
    with serving(tmp_path_factory.mktemp("documents"), encoder, DOCUMENTS) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page; whatever it logs or asks of others is an error."""
    with opened(browser, address) as page:
        expect(page.locator("#served")).not_to_be_empty()
        yield page


def test_markdown_is_rendered(page: Page) -> None:
    text = read(page, "raw")
    expect(text.locator("h3")).to_have_text("Rotate the keys")
    expect(text.locator("h4")).to_have_text("Steps")
    assert text.locator("strong").inner_text() == "two keys"
    assert text.locator("em").inner_text() == "Never"
    assert text.locator("p > code").inner_text() == "rm -rf"
    assert "x < y, List<String>, AT&T, snake_case_name." in text.inner_text()
    assert text.locator("ol > li").count() == 2 and "☑ done" in text.locator("ul > li").inner_text()
    code = text.locator("pre code")
    assert code.inner_text().strip() == (
        "def rotate(old: str) -> str:\n    return old[::-1]  # bees swarm"
    )
    assert code.locator(".hljs-keyword").first.inner_text() == "def"
    assert text.locator("th").all_inner_texts() == ["key", "days"]
    assert text.locator("td").all_inner_texts() == ["web", "30", "", "7"]
    assert text.locator("blockquote del").inner_text() == "old"
    links = text.locator("a").evaluate_all("all => all.map((a) => [a.innerText, a.href])")
    assert links == [
        ["the guide", "https://example.com/guide?a=1"],
        ["https://a.example/b", "https://a.example/b"],
        ["mailto:ops@example.com", "mailto:ops@example.com"],
        ["A picture", "https://example.com/p.png"],
        ["ref", "https://ref.example/"],
    ]
    assert "**" not in text.inner_text() and "```" not in text.inner_text()


def test_what_matched_is_marked_in_rendered_markdown(page: Page) -> None:
    search(page, "tell clients about bees")
    page.click("#hits .hit:has-text('Rotate the keys')")
    page.wait_for_selector("#reader-text mark")
    marked = {text.lower() for text in page.locator("#reader-text li mark").all_inner_texts()}
    assert {"clients", "bees"} <= marked
    assert page.locator("#reader-text .passage").count() > 0
    page.click("#open-menu")
    page.click("#as-text")
    expect(page.locator("#reader-text")).to_contain_text("**two keys**")
    assert "bees" in page.locator("#reader-text mark").all_inner_texts()


def test_snippets_of_markdown_have_no_signs(page: Page) -> None:
    search(page, "how many keys at a time")
    snippet = page.locator("#hits .hit:has-text('Rotate the keys') .snippet")
    expect(snippet).to_contain_text("Use two keys at a time, see the guide")


def test_html_is_read_as_text(page: Page) -> None:
    text = read(page, "page")
    expect(text.locator("h3")).to_have_text("Rotating pumps")
    assert "The pump & the valve." in text.inner_text()
    assert "var bees" not in text.inner_text() and "<" not in text.inner_text()
    assert text.locator("pre").inner_text() == "a\n  b"


def test_code_has_line_numbers_and_colours(page: Page) -> None:
    search(page, "where do bees swarm")
    hit = page.locator("#hits .hit:has-text('lib')").first
    expect(hit.locator(".place")).to_contain_text("src/lib.py:")
    text = read(page, "src/lib.py")
    lines = text.locator(".line")
    assert lines.evaluate_all("all => all.map((line) => line.dataset.line)") == list("12345678")
    assert text.locator(".hljs-keyword").first.inner_text() == "import"
    # A string over two lines has its colour on both.
    assert lines.nth(4).locator(".hljs-string").count() == 1
    assert lines.nth(5).locator(".hljs-string").count() == 1
    assert text.evaluate("text => text.textContent") == DOCUMENTS[2].text + "\n"


def test_text_of_files_has_its_layout(page: Page) -> None:
    text = read(page, "guide.md")
    expect(text.locator("h3")).to_have_text("Guide")
    assert text.locator("h4").inner_text() == "Steps"
    assert text.locator("strong").inner_text() == "bold"
    assert text.locator("a").get_attribute("href") == "https://example.com/x"
    assert text.locator(".item").all_inner_texts() == ["1. First", "2. Second", "  - nested"]
    assert text.locator("pre").inner_text() == "def f(x):\n    return 1"
    assert text.locator("pre .hljs-keyword").first.inner_text() == "def"
    assert text.locator("th, td").all_inner_texts() == ["key", "value", "a", "1", "b"]


def test_a_pdf_is_opened_at_its_page(page: Page) -> None:
    search(page, "expensive bees")
    hit = page.locator("#hits .hit:has-text('Report')")
    expect(hit.locator(".place")).to_have_text("report.pdf, page 2")
    hit.click()
    expect(page.locator("#reader-text .page")).to_have_text(["Page 1", "Page 2"])


def test_a_long_document_is_opened_at_its_best_passage(page: Page) -> None:
    search(page, "bees leave in May with the old queen")
    page.click("#hits .hit:has-text('Almanac')")
    page.wait_for_selector("#reader-text .best mark")
    expect(page.locator("#reader-text .best").first).to_be_in_viewport()
    assert "queen" in page.inner_text("#reader-text .best >> nth=-1")
    assert page.locator("#reader-text > p").first.evaluate("p => p.className") != "best"


def test_headings_and_relevance_are_on_each_hit(page: Page) -> None:
    search(page, "first and second of the nested steps")
    hit = page.locator("#hits .hit:has-text('guide.md')")
    expect(hit.locator(".trail")).to_contain_text("guide.md:")
    assert hit.locator(".bar-of").count() == 1 and "%" in hit.locator(".score").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_documents_do_nothing(browser: Browser, address: str, scheme: Any) -> None:
    with opened(browser, address, color_scheme=scheme) as page:
        search(page, "bees")
        expect(page.locator("#hits .hit")).not_to_have_count(0)
        assert page.evaluate(HARM) == []
        for document in DOCUMENTS:
            text = read(page, document.document_id)
            assert text.evaluate("text => text.textContent.length") > 0
            assert page.evaluate(HARM) == []
            page.click("#open-menu")
            if page.locator("#as-text").is_visible():
                page.click("#as-text")
                assert page.evaluate(HARM) == []
        assert page.title() == "pocket-colbert"


def test_hostile_markdown_is_still_read(page: Page) -> None:
    text = read(page, DOCUMENTS[5].document_id)
    shown = text.inner_text()
    assert "bees" in shown and "<script>window.hurt=2</script>" in shown
    links = text.locator("a").evaluate_all("all => all.map((a) => new URL(a.href).protocol)")
    assert set(links) <= {"https:", "http:", "mailto:"}


@pytest.mark.parametrize(
    "text",
    ["[a](" * 60_000, "![[]()" * 40_000, ">" * 200_000, "*a **b " * 35_000, "| a " * 60_000,
     "`" * 50_000 + "a", "# x\n" * 50_000],
    ids=["links", "images", "quotes", "stars", "bars", "ticks", "headings"],
)  # fmt: skip
def test_a_text_that_takes_too_long_to_render_is_shown_as_it_is(
    browser: Browser, address: str, text: str
) -> None:
    """The work is done beside the page, which can be used meanwhile, and is stopped."""
    answer = {"documents": [{
        "id": "slow", "text": text + "\n# end of it", "title": "Slow", "metadata": {},
        "source": None, "sections": [],
    }]}  # fmt: skip
    made = browser.new_context()
    page = made.new_page()
    page.route("**/api/documents?id=slow", lambda route: route.fulfill(json=answer))
    page.set_default_timeout(60_000)
    page.goto(address + "/?doc=slow")
    expect(page.locator("#reader-text")).to_contain_text("end of it")
    page.click("#reader [data-close]")
    expect(page.locator("#reader")).to_be_hidden()
    made.close()

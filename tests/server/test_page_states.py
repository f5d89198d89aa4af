"""What the page does beside searching: examples, facets, more hits, addresses, errors, keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pocket_colbert import Document, Encoder
from tests.support.pages import CHROMIUM, axe_source, expect, opened, read, search, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
]

DOCUMENTS = [
    Document(
        f"bees-{n}",
        f"## Hive number {n}\n\nBees of hive {n} swarm in May, and *never* in winter.",
        f"The bees of hive {n}",
        {
            "colour": ["red", "green", "blue"][n % 3], "year": 2000 + n % 2,
            "tags": ["bees", f"t{n % 2}"],
        },
    )
    for n in range(24)
]  # fmt: skip
CODE = {"kind": "code", "path": "a.py"}
DOCUMENTS.append(Document("code", "def swarm():\n    return 1\n", "code", CODE))
BUSY = {"error": {"type": "overloaded", "message": "2 requests are running; try again later."}}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[str]:
    """A server in a thread."""
    with serving(tmp_path_factory.mktemp("states"), encoder, DOCUMENTS) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page; whatever it logs or asks of others is an error."""
    with opened(browser, address) as page:
        expect(page.locator("#served")).to_have_text("25 documents")
        yield page


def test_an_empty_start_offers_examples(page: Page) -> None:
    examples = page.locator("#examples button")
    expect(examples).to_have_count(5)
    words = examples.first.inner_text()
    examples.first.click()
    expect(page.locator("#query")).to_have_value(words)
    page.wait_for_selector("#hits .hit")
    expect(page.locator("#start")).to_be_hidden()


def test_more_hits(page: Page) -> None:
    search(page, "bees swarm in May")
    hits = page.locator("#hits .hit")
    expect(hits).to_have_count(10)
    page.click("#more")
    expect(hits).to_have_count(20)
    assert page.evaluate(
        "[...document.querySelectorAll('#hits .hit')].indexOf(document.activeElement)"
    ) == 10  # fmt: skip
    page.keyboard.press("m")
    expect(hits).to_have_count(25)
    expect(page.locator("#more")).to_be_hidden()
    assert len(set(hits.locator(".place").all_inner_texts())) >= 24


def test_facets(page: Page) -> None:
    search(page, "bees swarm in May")
    facets = page.locator(".facet")
    assert facets.locator("legend").all_inner_texts() == ["colour", "kind", "tags", "year"]
    colour = facets.filter(has_text="colour")
    assert colour.locator("label").all_inner_texts() == ["blue\n8", "green\n8", "red\n8"]
    colour.get_by_label("blue").check()
    expect(page.locator("#hits .hit")).to_have_count(8)
    colour.get_by_label("red").check()
    expect(page.locator("#hits .hit")).to_have_count(10)
    assert page.locator("#chips .chip").all_inner_texts() == ["colour is blue or red"]
    facets.filter(has_text="year").get_by_label("2000").check()
    expect(page.locator("#chips .chip")).to_have_count(2)
    expect(page.locator("#hits .hit")).to_have_count(8)
    page.reload()
    expect(colour.get_by_label("red")).to_be_checked()
    expect(page.locator("#hits .hit")).to_have_count(8)
    colour.get_by_label("blue").uncheck()
    expect(page.locator("#chips .chip").first).to_have_text("colour is red")
    page.click("#chips .chip >> nth=0")
    expect(colour.get_by_label("red")).not_to_be_checked()


def test_the_relevance_slider(page: Page) -> None:
    search(page, "bees of hive 7")
    before = page.locator("#hits .hit").count()
    page.focus("#least")
    page.keyboard.press("End")
    expect(page.locator("#least-value")).to_have_text("95 % or more")
    expect(page.locator("#hits .hit")).not_to_have_count(before)
    assert "least=95" in page.url
    page.reload()
    expect(page.locator("#least")).to_have_value("95")
    page.fill("#query", "knitting socks of wool")
    expect(page.locator("#status")).to_contain_text("ask for less relevance")


def test_the_address_opens_a_document_and_back_closes_it(page: Page) -> None:
    search(page, "bees of hive 7")
    page.click("#hits .hit >> nth=0")
    page.wait_for_selector("#reader-text mark")
    title = page.inner_text("#reader-title")
    shared = page.url
    assert "doc=bees-" in shared and "q=bees" in shared
    page.go_back()
    expect(page.locator("#reader")).to_be_hidden()
    expect(page.locator("#query")).to_have_value("bees of hive 7")
    page.go_forward()
    expect(page.locator("#reader-title")).to_have_text(title)
    page.goto(shared)
    expect(page.locator("#reader-title")).to_have_text(title)
    page.wait_for_selector("#reader-text mark")  # of the hit in the same address
    page.click("#reader [data-close]")
    page.wait_for_url(lambda url: "doc=" not in url)
    assert page.get_attribute("#hits .hit >> nth=0", "href").startswith(  # type: ignore[union-attr]
        page.url.partition("?")[0] + "?q=bees"
    )


def test_stop_words_are_not_lit(page: Page) -> None:
    search(page, "when do the bees swarm in the hive")
    assert page.locator("#words .word").all_inner_texts() == ["bees", "swarm", "hive"]
    assert page.locator("#words .stop").all_inner_texts() == ["when", "do", "the", "in", "the"]
    marked = {text.lower() for text in page.locator("#hits mark").all_inner_texts()}
    assert "bees" in marked and not marked & {"the", "in", "of", "and"}


def test_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#helper")).to_be_visible()
    page.keyboard.press("Escape")
    search(page, "bees swarm in May")
    page.focus("#hits .hit >> nth=0")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate(
        "[...document.querySelectorAll('#hits .hit')].indexOf(document.activeElement)"
    ) == 1  # fmt: skip
    page.keyboard.press("Enter")
    page.wait_for_selector("#reader-text mark")
    page.keyboard.press("n")
    page.click("#open-menu")
    page.keyboard.press("Escape")  # closes the menu alone
    expect(page.locator("#menu")).to_be_hidden()
    expect(page.locator("#reader")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#reader")).to_be_hidden()


def failing(browser: Browser, address: str, answer: Any) -> Page:
    """Return a page whose searches are answered by a function."""
    page = browser.new_context().new_page()
    page.set_default_timeout(60_000)
    page.route("**/api/search", answer)
    page.goto(address)
    expect(page.locator("#served")).not_to_be_empty()
    page.fill("#query", "bees")
    return page


def test_a_busy_server_is_asked_again(browser: Browser, address: str) -> None:
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503, json=BUSY) if len(asked) < 3 else route.continue_()

    page = failing(browser, address, answer)
    expect(page.locator("#status")).to_have_text("The server is busy. Trying again …")
    expect(page.locator("#hits .hit")).to_have_count(10)
    assert len(asked) == 3
    page.context.close()


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (503, "2 requests are running", "The server is busy. Wait a moment, then try again."),
        (500, "the disk failed.", "The disk failed. If it stays like this, tell whoever runs"),
        (422, "`where` is wrong", "`where` is wrong. Change the question or the filters."),
        (0, "", "The server cannot be reached. Check that it is running"),
    ],
)
def test_errors_say_what_to_do(
    browser: Browser, address: str, status: int, message: str, shown: str
) -> None:
    works: list[bool] = []

    def answer(route: Route) -> None:
        if works:
            route.continue_()
        elif status:
            route.fulfill(status=status, json={"error": {"type": "x", "message": message}})
        else:
            route.abort()

    page = failing(browser, address, answer)
    expect(page.locator("#problem-text")).to_contain_text(shown)
    works.append(True)
    page.click("#again")
    expect(page.locator("#hits .hit")).to_have_count(10)
    expect(page.locator("#problem")).to_be_hidden()
    page.context.close()


def test_a_slow_server_is_waited_for(browser: Browser, address: str) -> None:
    held: list[Route] = []
    page = failing(browser, address, lambda route: held.append(route))
    expect(page.locator("#status")).to_have_text("Searching …")
    assert page.get_attribute("#hits", "aria-busy") == "true"
    expect(page.locator("#status")).to_have_text("Still searching: the server has much to do.")
    for route in held:
        route.continue_()
    expect(page.locator("#hits .hit")).to_have_count(10)
    assert page.get_attribute("#hits", "aria-busy") is None
    page.context.close()


def test_a_document_that_is_gone(browser: Browser, address: str) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(60_000)
    page.goto(address + "/?doc=unknown")
    expect(page.locator("#problem-text")).to_contain_text("not there any more")
    assert "doc=" not in page.url
    page.context.close()


def test_below_a_path(browser: Browser, tmp_path: Path, encoder: Encoder) -> None:
    with (
        serving(tmp_path, encoder, DOCUMENTS[:3], prefix="/find/it") as address,
        opened(browser, address, "/find/it?q=bees") as page,
    ):
        expect(page.locator("#hits .hit")).to_have_count(3)
        assert page.url.startswith(f"{address}/find/it/?q=bees")
        text = read(page, "bees-1")
        expect(text.locator("h3")).to_have_text("Hive number 1")
        page.goto(f"{address}/find/it/docs")
        expect(page.locator(".operation")).to_have_count(17)


def test_the_page_of_the_api(browser: Browser, address: str) -> None:
    with opened(browser, address, "/docs") as page:
        expect(page.locator(".operation")).to_have_count(17)
        operation = page.locator("#op-search")
        expect(operation).to_contain_text("min_relevance")
        operation.locator("summary", has_text="Try it").click()
        operation.locator("textarea").fill('{"query": "bees", "k": 1}')
        operation.locator("[type=submit]").click()
        expect(operation.locator("[role=status]")).to_contain_text("200")
        expect(operation.locator(".answer")).to_contain_text('"key_spans"')
        for name in ("SearchHit", "InfoResponse"):
            expect(page.locator(f"#type-{name}")).to_have_count(1)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What finds barriers."""
    source = axe_source(tmp_path_factory.mktemp("axe"))
    if source is None:
        pytest.skip("needs npm install axe-core")
    return source


STATES = ["start", "hits", "weak", "nothing", "error", "reader", "code", "menu", "delete", "add",
          "help", "filter", "pinned", "docs"]  # fmt: skip


def bring_to(page: Page, address: str, state: str) -> None:
    """Bring the page into a state."""
    if state == "docs":
        page.goto(address + "/docs")
        expect(page.locator(".operation")).to_have_count(17)
        return
    page.goto(address)
    expect(page.locator("#served")).not_to_be_empty()
    if state == "error":
        page.route("**/api/search", lambda route: route.abort())
        page.fill("#query", "bees")
        expect(page.locator("#problem")).to_be_visible()
    elif state == "weak":
        search(page, "knitting socks of wool")
    elif state == "nothing":
        page.goto(address + '/?q=bees&where={"colour":"none"}')
        expect(page.locator("#status")).to_contain_text("Nothing found")
    elif state == "code":
        read(page, "code")
    elif state == "add":
        page.click("#open-add")
    elif state == "help":
        page.click("#open-help")
    elif state != "start":
        search(page, "bees of hive 7")
    if state in ("reader", "menu", "delete"):
        page.click("#hits .hit >> nth=0")
        page.wait_for_selector("#reader-text mark")
    if state in ("menu", "delete"):
        page.click("#open-menu")
    if state == "delete":
        page.click("#delete")
    if state == "filter":
        page.click("#open-filter")
    if state == "pinned":
        page.click("#words .word >> nth=0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(
    browser: Browser, address: str, axe: str, scheme: Any, width: int
) -> None:
    found = []
    for state in STATES:
        # axe is put into the page, which its policy forbids.
        context = browser.new_context(
            bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 800},
            reduced_motion="reduce",
        )  # fmt: skip
        page = context.new_page()
        page.set_default_timeout(60_000)
        bring_to(page, address, state)
        page.evaluate(axe)
        answer = page.evaluate("axe.run({ resultTypes: ['violations'] })")
        found += [
            (state, rule["id"], node["html"][:200], node["failureSummary"][:300])
            for rule in answer["violations"]
            for node in rule["nodes"][:3]
        ]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        context.close()
    assert found == []

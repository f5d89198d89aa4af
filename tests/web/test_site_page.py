"""A site in a real browser, served by a plain server of files below a prefix."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.site.writer import write_site
from tests.support.pages import CHROMIUM, chromium, expect, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pocket_colbert.errors.LanguageWarning"),  # 99 waves
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
]
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> of the sea'
DOCUMENTS = [
    Document("bees", "Bees swarm in May. A swarm looks for a new home.", "Bees", {"year": 2024}),
    Document("evil", HOSTILE, HOSTILE, {"kind": HOSTILE}),
    Document(
        "moon", "🌊 " * 99 + "The moon moves the tides of the sea.", "The moon", {"year": 1969}
    ),
]
WAIT = 120_000


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Site:
    """A served site.

    Attributes:
        folder: Where it is.
        address: Where it is served.
        index: What it searches.
        encoder: The model.
        server: What serves it.
    """

    def __init__(self, root: Path, encoder: Encoder) -> None:
        config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, codes="int4")
        self.encoder, self.index = encoder, Index.create(root / "web.index", config)
        Retriever(encoder, self.index).add(DOCUMENTS)
        self.index.commit()
        self.folder = root / "www" / "some" / "prefix"
        write_site(self.index, self.folder, encoder=encoder, title="Notes & more")
        handler = functools.partial(Handler, directory=str(root / "www"))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/some/prefix/"

    def stop(self) -> None:
        """Be gone: from now on there is no network."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, Encoder.load("tiny"))
    yield made
    made.stop()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The page; whatever it logs or asks of others is an error."""
    with opened(browser, site.address, "", own=()) as page:
        page.wait_for_selector("html[data-ready]", state="attached")
        yield page


def test_searching_reading_and_the_keyboard(page: Page) -> None:
    assert page.title() == "Notes & more"
    page.keyboard.type("bees swarm")  # the field has the focus
    first = page.locator("#hits .hit").first
    expect(first.locator("strong")).to_have_text("Bees")
    expect(first.locator("mark").first).to_be_visible()
    assert "swarm" in {text.lower() for text in first.locator("mark").all_inner_texts()}
    assert "q=bees+swarm" in page.url
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reader[open]")
    assert page.text_content("#reader-text") == DOCUMENTS[0].text
    page.keyboard.press("Escape")
    page.wait_for_selector("#reader", state="hidden")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    expect(page.locator("#hits .hit")).to_have_count(0)
    page.fill("#query", "tides of the sea")
    expect(page.locator("#hits .hit")).to_have_count(3)
    assert page.title() == "Notes & more" and page.locator("#hits img").count() == 0
    moon = page.locator("#hits .hit", has_text="The moon")
    expect(moon.locator("mark", has_text="tides")).to_be_visible()  # behind 99 wide characters


def test_filters(page: Page) -> None:
    page.fill("#query", "tides of the sea")
    expect(page.locator("#hits .hit")).to_have_count(3)
    page.select_option("#field", "year")
    page.select_option("#value", label="1969 (1)")
    expect(page.locator("#hits .hit")).to_have_count(1)
    expect(page.locator("#hits strong")).to_have_text("The moon")
    page.select_option("#field", "kind")
    expect(page.locator("#hits strong")).to_have_text(HOSTILE)


def test_without_network_and_after_an_update(page: Page, site: Site) -> None:
    expect(page.locator("#keep")).to_be_visible()
    Retriever(site.encoder, site.index).add([Document("steel", "Bridges of steel.", "Steel")])
    site.index.commit()
    write_site(site.index, site.folder, encoder=site.encoder, title="Notes & more")
    page.reload()  # asks for what has changed
    page.wait_for_selector("html[data-ready]", state="attached")
    page.fill("#query", "steel bridges")
    expect(page.locator("#hits strong").first).to_have_text("Steel")
    page.click("#keep")
    expect(page.locator("#stored")).to_contain_text("Works without network")
    site.stop()
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.fill("#query", "who moves the tides?")
    expect(page.locator("#hits strong").first).to_have_text("The moon")
    page.click("#clear")
    expect(page.locator("#stored")).to_have_text("Deleted.")


def test_what_is_damaged_is_named(browser: Browser, site: Site) -> None:
    for path in (site.folder / "data").glob("codes-*.bin"):
        path.write_bytes(bytes(path.stat().st_size))
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.goto(site.address)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=WAIT)
    page.fill("#query", "bees")
    expect(page.locator("#status")).to_contain_text("is damaged")
    assert page.locator("#status.problem").count() == 1
    context.close()


def test_browsers_that_cannot_are_told(browser: Browser, site: Site) -> None:
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.route(
        "**/worker-*.js",
        lambda route: route.fulfill(
            body="delete globalThis.WebAssembly;" + route.fetch().text(),
            content_type="text/javascript",
        ),
    )
    page.goto(site.address)
    expect(page.locator("#status")).to_contain_text("no WebAssembly with SIMD")
    context.close()

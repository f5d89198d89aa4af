"""The pages of the server and of sites in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from tests.support.servers import listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, LocatorAssertions, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = "axe-core@4.14.1"
_PATIENCE = 120_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def index_of(folder: Path, encoder: Encoder, documents: Sequence[Document]) -> Index:
    """Return an index of documents, open for writing."""
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    index = Index.create(folder, config)
    Retriever(encoder, index).add(documents)
    index.commit()
    return index


@contextmanager
def serving(
    folder: Path, encoder: Encoder, documents: Sequence[Document], **options: Any
) -> Iterator[str]:
    """Serve documents from a thread, and give the address; options are those of `create_app`."""
    from pocket_colbert.server.app import create_app
    from pocket_colbert.server.security import LOOPBACK_HOSTS
    from pocket_colbert.server.writing import WritingService

    service = WritingService(encoder, index_of(folder / "page.index", encoder, documents))
    with listening(create_app(service, hosts=LOOPBACK_HOSTS, **options)) as found:
        yield found


@contextmanager
def opened(
    browser: Browser,
    address: str,
    path: str = "/",
    *,
    own: tuple[str, ...] = ("blob:",),
    **context: Any,
) -> Iterator[Page]:
    """Open the page; whatever it logs or asks of others is an error.

    Args:
        browser: The browser.
        address: What it may ask.
        path: What is opened there.
        own: How other addresses begin that it may ask, such as those of what it makes itself.
        context: Options of the browser's context.
    """
    made = browser.new_context(**context)
    page = made.new_page()
    page.set_default_timeout(_PATIENCE)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    made.on(  # of the context, which knows what workers ask, too
        "request",
        lambda r: None if r.url.startswith((address, *own)) else problems.append(r.url),
    )
    page.goto(address + path)
    try:
        yield page
    finally:
        made.close()
    assert not problems


def expect(locator: Locator) -> LocatorAssertions:
    """Wait for what is expected, from without: the page's policy forbids to evaluate in it."""
    from playwright.sync_api import expect as wait

    wait.set_options(timeout=_PATIENCE)
    return wait(locator)


def search(page: Page, query: str) -> None:
    """Ask a question and wait for hits."""
    page.fill("#query", query)
    page.wait_for_selector("#hits .hit")


def read(page: Page, document_id: str) -> Locator:
    """Open a document by its address, wait until it is rendered, and return its text."""
    from urllib.parse import quote

    page.goto(page.url.partition("?")[0] + "?doc=" + quote(document_id, safe=""))
    page.wait_for_selector("#reader[open]")
    text = page.locator("#reader-text")
    expect(text.get_by_text("Loading …")).to_have_count(0)
    return text


def axe_source(folder: Path) -> str | None:
    """Return axe-core, which finds what keeps people out; None where npm cannot install it."""
    if shutil.which("npm") is None:
        return None
    (folder / "package.json").write_text("{}")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", AXE],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    found = folder / "node_modules" / "axe-core" / "axe.min.js"
    return found.read_text() if done.returncode == 0 and found.exists() else None

"""The page of `pocket-colbert serve`, in a real browser."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.ingest.incremental import Pace
from tests.support.pages import CHROMIUM, expect, opened, search, serving
from tests.support.servers import listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
    pytest.mark.filterwarnings("ignore::pocket_colbert.errors.LanguageWarning"),  # 300 waves
]
HOSTILE = (
    '<img src=x onerror="document.title=1"><script>document.title=2</script> tides of the sea 🌊'
)
DOCUMENTS = [
    Document("bees", "Bees swarm in May. A swarm looks for a new home.", "Bees", {"year": 2024}),
    Document("evil", HOSTILE, HOSTILE, {"a": HOSTILE}),
    Document(
        "moon/1?&#",
        "🌊 " * 300 + "The moon moves the tides of the sea.",
        "The moon",
        {"year": 1969, "kind": "sky"},
    ),  # fmt: skip
]


@pytest.fixture
def address(tmp_path: Path, encoder: Encoder) -> Iterator[str]:
    """A server in a thread, over three documents."""
    with serving(tmp_path, encoder, DOCUMENTS) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page; whatever it logs or asks of others is an error."""
    with opened(browser, address) as page:
        expect(page.locator("#served")).not_to_be_empty()
        yield page


def test_searching_and_the_heat_map_by_keyboard(page: Page) -> None:
    page.keyboard.type("bees swarm")
    expect(page.locator("#words .word")).to_have_text(["bees", "swarm"])  # all of it was typed
    assert page.inner_text("#hits .hit >> nth=0 >> strong") == "Bees"
    assert page.input_value("#query") == "bees swarm"
    assert "q=bees+swarm" in page.url
    first = page.locator("#hits .hit").first
    words = page.locator("#words .word")
    assert words.all_inner_texts() == ["bees", "swarm"]
    assert first.locator("mark").count() > 0 and first.locator("mark.lit").count() == 0
    words.nth(1).focus()
    assert "swarm" in " ".join(first.locator("mark.lit").all_inner_texts()).lower()
    # Two words: each has about half of what both add, and no [MASK] takes its part.
    share = first.locator(".score").inner_text()
    assert 30 < float(share.removesuffix(" % of the words")) < 70
    page.focus("#query")
    assert first.locator("mark.lit").count() == 0
    assert 50 < float(first.locator(".score").inner_text().removesuffix(" %")) <= 100
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reader[open]")
    expect(page.locator("#reader-text")).to_have_text(DOCUMENTS[0].text or "")
    assert page.locator("#reader-text .passage mark").count() > 0
    assert page.locator("#reader-text .passage").count() == 1  # and not one a mark
    page.keyboard.press("Escape")
    page.wait_for_selector("#reader", state="hidden")
    assert page.evaluate("document.activeElement.className") == "hit"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("Escape")
    assert page.input_value("#query") == "" and page.locator("#hits .hit").count() == 0


def test_texts_are_shown_as_texts_and_places_hold_beyond_ascii(page: Page) -> None:
    title = page.title()
    search(page, "tides of the sea")
    expect(page.locator("#hits .hit")).to_have_count(3)
    assert page.title() == title and page.locator("#hits img, #hits script").count() == 0
    assert HOSTILE in page.locator("#hits strong").all_inner_texts()
    page.click("#hits .hit:has-text('The moon')")
    page.wait_for_selector("#reader-text mark")
    marks = page.locator("#reader-text mark").all_inner_texts()
    assert {"tides", "sea"} <= set(marks)
    assert page.evaluate("document.getElementById('reader-text').textContent") == DOCUMENTS[2].text


def test_stale_answers_are_dropped(page: Page) -> None:
    page.evaluate(
        """() => {
            const real = window.fetch;
            window.fetch = async (path, { signal, ...options }) => {
                const answer = await real(path, options); // deaf to being aborted, too
                const slow = (options.body ?? "").includes("bees");
                await new Promise((resolve) => setTimeout(resolve, slow ? 800 : 0));
                return answer;
            };
        }"""
    )
    page.fill("#query", "bees")
    page.press("#query", "Enter")
    page.fill("#query", "moon")
    page.press("#query", "Enter")
    page.wait_for_selector("#hits .hit")
    page.wait_for_timeout(1500)
    assert page.locator("#words .word").all_inner_texts() == ["moon"]
    assert page.locator("#hits .hit strong").first.inner_text() == "The moon"


def test_adding_and_deleting(page: Page, tmp_path: Path) -> None:
    note = tmp_path / "roof-notes.md"
    note.write_text("Roofs keep the rain out. 🏠", encoding="utf-8")
    page.click("#open-add")
    page.set_input_files("#add-file", note)
    expect(page.locator("#add-title")).to_have_value("roof notes")
    page.click("#add [type=submit]")
    page.wait_for_selector("#adder", state="hidden")
    expect(page.locator("#served")).to_have_text("4 documents")
    search(page, "rain on roofs")
    assert page.locator("#hits .hit strong").first.inner_text() == "roof notes"
    page.click("#hits .hit >> nth=0")
    page.click("#open-menu")
    page.click("#delete")
    page.click("#deleter [data-close]")  # not yet
    page.click("#open-menu")
    page.click("#delete")
    expect(page.locator("#deleter-name")).to_have_text("roof notes")
    page.click("#delete-now")
    page.wait_for_selector("#reader", state="hidden")
    expect(page.locator("#served")).to_have_text("3 documents")
    expect(page.locator("#hits .hit")).to_have_count(3)


def test_filters_by_keyboard_and_in_the_address(page: Page, address: str) -> None:
    search(page, "tides of the sea")
    expect(page.locator("#hits .hit")).to_have_count(3)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.id") == "filter-field"
    fields = page.locator("#filter-field option").all_inner_texts()
    assert fields == ["a", "kind", "year"]
    page.keyboard.type("year")
    page.keyboard.press("Tab")
    page.keyboard.type("is at l")
    page.keyboard.press("Tab")
    assert page.get_attribute("#filter-value", "placeholder") == "1969 to 2024"
    page.keyboard.type("many")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("The value must be a number.")
    page.fill("#filter-value", "1900.5")
    page.keyboard.press("Enter")
    expect(page.locator("#hits .hit")).to_have_count(2)
    assert page.locator("#chips .chip").all_inner_texts() == ["year ≥ 1900.5"]
    page.select_option("#filter-field", "kind")
    assert page.locator("#filter-choice option").all_inner_texts() == ["sky (1)"]
    page.select_option("#filter-operator", "$ne")
    page.click("#filter [type=submit]")
    expect(page.locator("#hits .hit")).to_have_count(1)
    assert page.locator("#hits .hit strong").all_inner_texts() == ["Bees"]
    page.goto(page.url)  # the address holds the filter
    expect(page.locator("#hits .hit")).to_have_count(1)
    chips = page.locator("#chips .chip")
    assert chips.all_inner_texts() == ["year ≥ 1900.5", "kind is not sky"]
    chips.first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#hits .hit")).to_have_count(2)
    assert page.evaluate("document.activeElement.textContent") == "kind is not sky"
    page.keyboard.press("Enter")
    expect(page.locator("#hits .hit")).to_have_count(3)
    assert "where" not in page.url
    nested = '{"$or": [{"year": 1969}, {"a": {"$exists": true}}]}'
    page.goto(f"{address}/?q=sea&where={nested}")
    expect(page.locator("#hits .hit")).to_have_count(2)
    assert page.locator("#chips .chip").count() == 1
    page.goto(f"{address}/?q=sea&where=%7B")
    expect(page.locator("#hits .hit")).to_have_count(3)


def test_hostile_metadata_is_shown_as_text(page: Page) -> None:
    title = page.title()
    page.click("#open-filter")
    page.select_option("#filter-field", "a")
    assert page.locator("#filter-choice option").all_inner_texts() == [f"{HOSTILE} (1)"]
    page.click("#filter [type=submit]")
    assert page.locator("#chips .chip").all_inner_texts() == [f"a is {HOSTILE}"]
    search(page, "tides")
    expect(page.locator("#hits .hit")).to_have_count(1)
    assert page.title() == title and page.locator("img, #chips script").count() == 0
    page.focus("#filter-operator")
    page.keyboard.press("Escape")
    expect(page.locator("#filter")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "query"


@contextmanager
def indexed_meanwhile(path: Path, encoder: Encoder) -> Iterator[str]:
    """Serve documents that are indexed while the page is open."""
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.server.app import create_app
    from pocket_colbert.server.background_indexing import Indexing
    from pocket_colbert.server.writing import WritingService

    folder = path.with_name("meanwhile.index")
    index = Index.create(folder, IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint))
    indexing = Indexing(path, folder, Fields())
    with listening(create_app(WritingService(encoder, index, indexing=indexing))) as found:
        yield found


def test_progress_of_indexing(
    browser: Browser, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pocket_colbert.server.background_indexing._PACE", Pace(documents=2, first_tokens=1)
    )
    notes = tmp_path / "notes"
    notes.mkdir()
    for n in range(6):
        (notes / f"{n}.txt").write_text(f"The sea is {n} miles wide.", "utf-8")
    go, prepare = threading.Event(), Retriever.prepare

    def gated(self: Retriever, documents: list[Document], **named: Any) -> Any:
        assert documents[0].document_id != "4.txt" or go.wait(60)
        return prepare(self, documents, **named)

    monkeypatch.setattr(Retriever, "prepare", gated)
    with indexed_meanwhile(notes, encoder) as address:
        page = browser.new_page()
        page.goto(f"{address}/?q=sea")
        expect(page.locator("#indexing-text")).to_have_text(
            "Indexing notes: 4 of 6 documents; 4 can be found"
        )
        assert page.get_attribute("#indexing-bar", "value") == "4"
        assert page.get_attribute("#indexing-bar", "max") == "6"
        expect(page.locator("#hits .hit")).to_have_count(4)
        go.set()
        expect(page.locator("#indexing")).to_be_hidden()
        expect(page.locator("#hits .hit")).to_have_count(6)
        expect(page.locator("#served")).to_have_text("6 documents")
        page.close()


def test_why_indexing_stopped_is_shown(browser: Browser, encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\0\xff\0\1")
    with indexed_meanwhile(tmp_path / "bad.txt", encoder) as address:
        page = browser.new_page()
        page.goto(address)
        expect(page.locator("#trouble")).to_contain_text("bad.txt: it is binary")
        expect(page.locator("#indexing")).to_be_hidden()
        page.close()


def test_weak_matches_are_called_that(page: Page) -> None:
    search(page, "bees swarm")
    expect(page.locator("#status")).to_contain_text("weak match")
    assert page.locator("#hits .hit.weak").count() == page.locator("#hits .hit").count() - 1
    page.fill("#query", "knitting patterns for socks")
    expect(page.locator("#status")).to_have_text(
        "Weak matches: nothing here is likely to be what you ask for."
    )
    assert page.locator("#hits .hit:not(.weak)").count() == 0


def test_what_a_store_cannot_do_is_hidden_and_that_it_is_gone_is_said(
    browser: Browser,
    encoder: Encoder,
    library_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not importlib.util.find_spec("lancedb"):
        pytest.skip("needs the 'lance' extra")
    from pocket_colbert.backends import open_backend, push
    from pocket_colbert.server.app import create_app
    from pocket_colbert.server.served import ServedBackend
    from pocket_colbert.server.service import Service

    monkeypatch.setattr("pocket_colbert.server.served.REFRESH_SECONDS", 0.0)
    place = f"lance://{tmp_path}/lance/papers"
    with Index.load(library_folder) as index:
        push(index, place)
    with listening(create_app(Service(encoder, ServedBackend(open_backend(place))))) as address:
        page = browser.new_page()
        page.goto(f'{address}/?q=bees&where={{"kind": "legal"}}')
        expect(page.locator("#hits .hit")).to_have_count(1)
        expect(page.locator("#served")).to_have_text("4 documents")
        for name in ("#hybrid", "#open-filter", "#open-add", "#filters"):
            expect(page.locator(name)).to_be_hidden()
        assert page.locator("#hits mark").count() > 0
        page.click("#chips .chip")
        expect(page.locator("#hits .hit")).to_have_count(4)
        page.click("#hits .hit >> nth=0")
        expect(page.locator("#reader-title")).to_have_text("Supply agreement")
        page.click("#open-menu")
        expect(page.locator("#copy-link")).to_be_visible()
        expect(page.locator("#delete")).to_be_hidden()
        shutil.rmtree(tmp_path / "lance")
        page.reload()
        expect(page.locator("#trouble")).to_contain_text(place)
        page.close()


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    search(page, "tides of the sea")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#words .word >> nth=0")  # a finger has no hover: a tap pins the word
    assert page.get_attribute("#words .word >> nth=0", "aria-pressed") == "true"
    assert page.locator("#hits mark.lit").count() > 0
    page.click("#open-filter")
    page.select_option("#filter-operator", "$prefix")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#filter [type=submit]")
    expect(page.locator("#status")).to_have_text("A value is missing.")
    page.fill("#filter-value", HOSTILE[:70])
    page.click("#filter [type=submit]")
    expect(page.locator("#hits .hit")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

"""The pages of docs/: what they show runs, what they name exists, and the site builds."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest

import pocket_colbert
from pocket_colbert import Encoder, Index, Retriever
from pocket_colbert.cli.commands import main
from pocket_colbert.model.folder import DEFAULT_MODEL, models_folder
from pocket_colbert_export.cli import main as exporter
from tests.support.library import LIBRARY

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = DOCS / "site"
BIN = Path(sys.executable).parent
PAGES = sorted(path for path in DOCS.rglob("*.md"))
READ_ON_GITHUB = [
    *PAGES,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ROOT / "benchmarks" / "README.md",
]
TOLD = "collection.md"
"""The page whose blocks are one session."""

NEEDED = {
    "langchain": "langchain_core", "llama_index": "llama_index.core", "haystack": "haystack",
    "rerankers": "rerankers",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DOCS.is_dir(), reason="needs the checkout")]


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why it is not run, None where it is."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return a page's blocks; `<!-- not run: REASON -->` may stand above one."""
    pattern = re.compile(
        r"(?:^<!-- not run: (.+?) -->\n+)?^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
    )
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page.relative_to(DOCS).as_posix(), text[: match.start(2)].count("\n") + 1,
            match[2], match[3], match[1],
        )
        for match in pattern.finditer(text)
    ]  # fmt: skip


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def test_every_block_has_a_language_that_is_known_here() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "python", "text", "js"}
    assert all(block.reason for block in BLOCKS if block.language == "js")


# Python


@pytest.mark.parametrize(
    "block",
    [
        block for block in BLOCKS
        if block.language == "python" and block.reason is None and block.page != TOLD
    ],
    ids=str,
)  # fmt: skip
def test_python_block_runs(
    block: Block,
    encoder: Encoder,
    library: Retriever,
    library_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each block runs alone, with what the pages call encoder, index, retriever and so on."""
    for framework, module in NEEDED.items():
        if f"integrations.{framework}" in block.code:
            pytest.importorskip(module)
    if "RetrieverQueryEngine" in block.code:
        from llama_index.core import Settings
        from llama_index.core.llms import MockLLM

        # None is called, but one has to be there.
        monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.chdir(tmp_path)
    if "Index.create" not in block.code:
        shutil.copytree(library_folder, "notes.index")
        shutil.copytree(library_folder, "index")
        Index.create("docs.index", library.index.config).close()
        Path("model").symlink_to(models_folder() / DEFAULT_MODEL)
    hits = library.retrieve(["who pays for the roof?"])[0]
    names: dict[str, Any] = {
        "asyncio": asyncio, "Retriever": Retriever, "__file__": str(tmp_path / "handler.py"),
        "encoder": encoder, "index": library.index, "retriever": library, "hits": hits,
        "hit": hits[0], "texts": [item.text for item in LIBRARY],
        "ids": [item.document_id for item in LIBRARY],
        "queries": encoder.encode_query(["a question"]),
    }  # fmt: skip
    rename = {"d1": LIBRARY[0].document_id, "d7": LIBRARY[1].document_id}
    code = re.sub(r'"(d1|d7)"', lambda match: f'"{rename[match[1]]}"', block.code)
    compiled = compile(code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if inspect.iscoroutine(result):
        asyncio.run(result)  # type: ignore[arg-type]
    for name in ("index", "handler"):
        opened = names.get(name)
        if isinstance(opened, Index) and opened is not library.index:
            opened.close()


def test_a_page_told_as_one_session_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    for name in ("files.md", "search.md"):
        shutil.copy(DOCS / name, "docs")
    blocks = [block for block in BLOCKS if block.page == TOLD]
    names: dict[str, Any] = {}
    for block, shown in itertools.pairwise(blocks):
        if block.language == "python":
            exec(compile(block.code, str(block), "exec"), names)  # noqa: S102
            expected = shown.code if shown.language == "text" else ""
            assert capsys.readouterr().out == expected, str(block)


# Commands


@pytest.fixture
def workshop(library_folder: Path, tmp_path: Path) -> Path:
    """A folder with what the pages' commands are about."""
    shutil.copytree(library_folder, tmp_path / "my.index")
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "export.md", tmp_path / "docs")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tax.md").write_text("There is a tax on honey.\n")
    (tmp_path / "papers.jsonl").write_text('{"_id": "p1", "text": "Bees swarm in May."}\n')
    judged = tmp_path / "DATA" / "cranfield"
    (judged / "qrels").mkdir(parents=True)
    rows = [{"_id": item.document_id, "text": item.text} for item in LIBRARY]
    (judged / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": item.document_id, "text": f"{item.document_id}?"} for item in LIBRARY]
    (judged / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (judged / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"{item.document_id}\t{item.document_id}\t1\n" for item in LIBRARY)
    )
    return tmp_path


def with_commands(page: Path) -> bool:
    return any(block.language == "bash" and not block.reason for block in blocks_of(page))


@pytest.mark.skipif(not (BIN / "pocket-colbert").exists(), reason="needs the installed command")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if with_commands(page)], ids=lambda page: page.name
)
def test_commands_run(page: Path, workshop: Path) -> None:
    """A page's commands run in order in bash, and print what the page says they print.

    Servers run until the page ends. What pip installs is here already.
    """
    if page.name == "tutorial.md":
        shutil.rmtree(workshop / "notes")
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(workshop),
    }  # fmt: skip
    printed = None
    with ExitStack() as stack:
        port = None
        for block in blocks_of(page):
            if block.language == "text" and printed is not None:
                assert without_numbers(printed) == without_numbers(block.code), str(block)
            if block.language != "bash" or block.reason:
                printed = None
                continue
            code = re.sub(r"^pip .*\n", "", block.code, flags=re.MULTILINE)
            for command in re.findall(r"^pocket-colbert serve.*$", code, flags=re.MULTILINE):
                rest = code.replace(f"{command}\n", "")
                run(rest, workshop, environment)
                port = stack.enter_context(serving(command, workshop, environment))
                code = ""
            printed = run(code.replace("8470", str(port)), workshop, environment)


def run(code: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, cwd=folder,
        env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def serving(command: str, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """Run a server on a port that is free, and give the port."""
    words = command.partition("#")[0].split()
    with subprocess.Popen(
        [*words, "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as server:
        try:
            assert server.stderr is not None
            found = re.search(r":(\d+)$", server.stderr.readline().strip())
            assert found, "the server did not start"
            wait_for(int(found[1]))
            yield int(found[1])
        finally:
            server.terminate()


def wait_for(port: int) -> None:
    import socket

    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)


def without_numbers(text: str) -> list[str]:
    """Return the words of a text; scores differ a little from one family of CPUs to another."""
    return re.sub(r"\d+(\.\d+)?", "0", text).split()


# Names


def options_of(*groups: click.Command) -> set[str]:
    found = set()
    for group in groups:
        for item in group.params:
            found.update([*item.opts, *item.secondary_opts])
        if isinstance(group, click.Group):
            found |= options_of(*group.commands.values())
    return found | {"--help"}


def of_site(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module that stands beside the site's configuration."""
    monkeypatch.syspath_prepend(SITE)
    return importlib.import_module(name)


def commands_of(page: Path) -> Iterator[str]:
    """Give a page's command lines, in blocks and within sentences."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    of_both = options_of(main, exporter)
    for line in commands_of(page):
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line.partition(" # ")[0]))
        if line.startswith("--"):
            assert options <= of_both, line
        for program, name in re.findall(r"(?<!\S)(pocket-colbert(?:-export)?) (\S+)", line):
            if program == "pocket-colbert-export":
                assert options <= options_of(exporter), line
            elif name not in ("COMMAND", "...") and not name.startswith("-"):
                assert name in main.commands, line
                assert options <= options_of(main.commands[name]), line


def slugs_of(page: Path) -> set[str]:
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading) for heading in headings)
    return {heading.strip().lower().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", READ_ON_GITHUB, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """As GitHub shows the pages; the site's build checks its own. test_readme.py has README's."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor and "reference/" not in path:
            assert anchor in slugs_of(place), target


def test_picture_shows_what_the_bundled_model_does(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and best matches are those of today; numbers may differ in the last digit.

    What bytes.svg shows is what tests/evaluation/test_quality.py has gates for.
    """

    def labels(drawn: str) -> list[str]:
        return re.findall(r">([^<]+)</text>", drawn)

    pictures = of_site("pictures", monkeypatch)
    now = labels(pictures.draw_matrix(pictures.measure_matrix(encoder)))
    then = labels((DOCS / "images" / "maxsim.svg").read_text(encoding="utf-8"))
    assert [without_numbers(label) for label in now] == [without_numbers(label) for label in then]
    numbers = [np.array(re.findall(r"\d+\.\d+", " ".join(texts)), float) for texts in (now, then)]
    assert np.allclose(*numbers, rtol=0.03, atol=0)


# The site


def in_nav(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    else:
        for part in item.values() if isinstance(item, dict) else item:
            yield from in_nav(part)


def test_nav_lists_every_page() -> None:
    import yaml

    config = yaml.safe_load((SITE / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = list(in_nav(config["nav"]))
    assert len(listed) == len(set(listed))
    assert {path.relative_to(DOCS).as_posix() for path in PAGES} <= set(listed)


def referred() -> set[str]:
    """Return what the reference asks docstrings of."""
    return {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }


def public_names(path: Path) -> set[str]:
    """Return a module's classes and functions without underscore, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")}


def test_every_public_name_is_in_the_reference() -> None:
    found = referred()
    for name in set(pocket_colbert.__all__) - {"__version__"}:
        home = pocket_colbert._HOMES[name]
        ways = {f"pocket_colbert.{name}", f"pocket_colbert.{home}.{name}"}
        assert ways & found or (home == "errors" and "pocket_colbert.errors" in found), name
    runtime = ROOT / "runtime" / "pocket_colbert"
    for module in (
        "deploy/lambda_handler",
        "integrations/heat_map",
        *(f"integrations/{name}" for name in NEEDED),
    ):
        for name in public_names(runtime / f"{module}.py"):
            assert f"pocket_colbert.{module.replace('/', '.')}.{name}" in found, name
    tree = ast.parse((ROOT / "export" / "pocket_colbert_export" / "__init__.py").read_text())
    (public,) = (
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )  # fmt: skip
    assert {f"pocket_colbert_export.{name}" for name in public} <= found


class Requests(HTMLParser):
    """Collects what a browser asks for when it shows a page, and the anchors of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        for name in ("src", "srcset", "data", "poster"):
            self.asked.add(found.get(name) or "")
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.asked.add(found.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as its readers build it."""
    for module in ("mkdocs", "material", "mkdocstrings", "mkdocs_click"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the docs extra ({module})")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", SITE / "mkdocs.yml"]
    done = subprocess.run(
        [*build, "-d", folder], capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_site_asks_nobody_else(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        seen = Requests()
        seen.feed(page.read_text(encoding="utf-8"))
        foreign = {item for item in seen.asked if re.match(r"([a-z]+:)?//", item)}
        assert not foreign, page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\"' ]*(https?:)?//", style.read_text("utf-8")), style


def test_site_has_every_public_name_and_command(site: Path) -> None:
    seen = Requests()
    for page in (site / "reference").glob("*.html"):
        seen.feed(page.read_text(encoding="utf-8"))
    for name in set(pocket_colbert.__all__) - {"__version__"}:
        home = pocket_colbert._HOMES[name]
        assert {f"pocket_colbert.{name}", f"pocket_colbert.{home}.{name}"} & seen.anchors, name
    for name in main.commands:
        assert f"pocket-colbert-{name}" in seen.anchors
    for name in ("export", "distill", "shrink"):
        assert f"pocket-colbert-export-{name}" in seen.anchors

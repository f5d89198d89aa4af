"""The document store in Haystack itself, and Haystack's own conformance tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pocket_colbert import Collection, Encoder, InvalidInputError, UnsupportedError

pytest.importorskip("haystack", reason="needs the haystack extra")

from haystack import Document, Pipeline  # noqa: E402
from haystack.components.writers import DocumentWriter  # noqa: E402
from haystack.document_stores.errors import DuplicateDocumentError  # noqa: E402
from haystack.document_stores.types import DuplicatePolicy  # noqa: E402
from haystack.errors import FilterError  # noqa: E402

from pocket_colbert.integrations.haystack import PocketColbertRetriever  # noqa: E402
from pocket_colbert.integrations.haystack_store import PocketColbertDocumentStore  # noqa: E402

ROOF = Document(id="roof", content="The landlord repairs the roof.", meta={"kind": "rule"})
BEES = Document(id="bees", content="Bees live in the garden.", meta={"kind": "fact", "n": 2})


def test_policies(encoder: Encoder) -> None:
    store = PocketColbertDocumentStore(Collection(model=encoder))
    other = Document(id="roof", content="A roof.")
    with pytest.raises(DuplicateDocumentError):
        store.write_documents([ROOF, other])
    assert store.count_documents() == 0
    assert store.write_documents([ROOF, other], DuplicatePolicy.SKIP) == 1
    assert store.write_documents([BEES, other], DuplicatePolicy.SKIP) == 1
    assert store.filter_documents() == [ROOF, BEES]
    with pytest.raises(DuplicateDocumentError, match="'bees' is there already"):
        store.write_documents([Document(content="new"), BEES], DuplicatePolicy.FAIL)
    assert store.write_documents([ROOF, other], DuplicatePolicy.OVERWRITE) == 1
    assert sorted(store.filter_documents(), key=lambda item: item.id) == [BEES, other]
    with pytest.raises(InvalidInputError, match="must have text"):
        store.write_documents([Document(content=None)])


def test_filters_that_delete(encoder: Encoder) -> None:
    store = PocketColbertDocumentStore(Collection(model=encoder))
    store.write_documents([ROOF, BEES])
    with pytest.raises(FilterError, match="delete_all_documents"):
        store.delete_by_filter({})
    with pytest.raises(FilterError, match="dates in ISO format"):
        store.filter_documents({"field": "meta.kind", "operator": ">", "value": "a"})
    assert store.delete_by_filter({"field": "id", "operator": "in", "value": ["roof"]}) == 1
    assert asyncio.run(store.filter_documents_async()) == [BEES]
    asyncio.run(store.delete_documents_async(["bees", "none"]))
    assert asyncio.run(store.write_documents_async([ROOF])) == 1
    assert asyncio.run(store.count_documents_async()) == 1


def test_pipelines_are_saved_loaded_and_run(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    pipeline = Pipeline()
    store = PocketColbertDocumentStore(folder, model="tiny")
    pipeline.add_component("writer", DocumentWriter(store, DuplicatePolicy.OVERWRITE))
    loaded = Pipeline.loads(
        pipeline.dumps(), allowed_modules=["pocket_colbert.integrations.haystack_store"]
    )
    assert not folder.exists()
    assert loaded.run({"writer": {"documents": [ROOF, BEES]}})["writer"]["documents_written"] == 2
    retriever = PocketColbertRetriever(folder, top_k=1)
    (found,) = retriever.run("who mends the roof?")["documents"]
    assert (found.id, found.content) == (ROOF.id, ROOF.content)
    retriever.close()
    loaded.get_component("writer").document_store.close()
    assert store.filter_documents() == [ROOF, BEES]
    store.delete_documents(["roof"])
    store.close()
    with Collection(folder) as collection:
        given = PocketColbertDocumentStore(collection)
        assert given.to_dict()["init_parameters"]["collection"] == str(folder)
        given.close()
        assert given.filter_documents() == [BEES]


def test_a_collection_in_memory_cannot_be_saved(encoder: Encoder) -> None:
    with pytest.raises(UnsupportedError, match="give the store a folder"):
        PocketColbertDocumentStore(Collection(model=encoder)).to_dict()


def test_haystacks_own_conformance_tests(tmp_path: Path) -> None:
    """In a session of their own, since they bring settings."""
    pytest.importorskip("haystack.testing.document_store", reason="needs Haystack's tests")
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n")
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-c", str(settings), "--rootdir", str(tmp_path),
            "-p", "no:cacheprovider", str(Path(__file__).with_name("haystack_conformance.py")),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    # What is skipped asks for an option to make the index new, which there is no need for here.
    assert ", 2 skipped" in done.stdout

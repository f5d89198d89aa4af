"""Haystack's own tests of a document store; `test_haystack_store.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing import document_store as own

from pocket_colbert import Collection, Encoder
from pocket_colbert.integrations.haystack_store import PocketColbertDocumentStore

ENCODER = Encoder.load("tiny", threads=1)


BASES = (own.DocumentStoreBaseTests, own.DeleteAllTest, own.DeleteByFilterTest)


class TestConformance(*BASES):  # type: ignore[misc]
    """Haystack's own tests, those of deleting everything and by a filter among them."""

    @pytest.fixture
    def document_store(self) -> Iterator[PocketColbertDocumentStore]:
        """An empty store."""
        with Collection(model=ENCODER) as collection:
            yield PocketColbertDocumentStore(collection)

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        """Compare all but embeddings: the store makes its own vectors and keeps no others."""
        assert received == [replace(item, embedding=None) for item in expected]

    def test_write_documents(self, document_store: PocketColbertDocumentStore) -> None:
        """Without a policy, an id that is there already is an error."""
        document = Document(content="a roof")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])

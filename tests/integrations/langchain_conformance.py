"""LangChain's own tests of a vector store; `test_langchain_store.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from pocket_colbert import Collection, Encoder
from pocket_colbert.integrations.langchain_store import PocketColbertVectorStore

ENCODER = Encoder.load("tiny", threads=1)


class TestConformance(VectorStoreIntegrationTests):  # type: ignore[misc]
    """LangChain's own tests."""

    @pytest.fixture
    def vectorstore(self) -> Iterator[PocketColbertVectorStore]:
        """An empty store."""
        with Collection(model=ENCODER) as collection:
            yield PocketColbertVectorStore(collection)

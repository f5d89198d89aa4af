"""The same search on engines that other machines serve: Qdrant and LanceDB.

    push(index, "qdrant+https://search.example.com/papers")
    with open_store("qdrant+https://search.example.com/papers") as store:
        Retriever(Encoder.for_index(store.config), store).retrieve(["a question"])

Addresses are described in `address.py`, what an engine can and cannot do in `docs/stores.md`.
"""

from __future__ import annotations

from pocket_colbert.backends.open_backend import engine_at, open_store
from pocket_colbert.backends.pushing import PushReport, push
from pocket_colbert.backends.remote import RemoteBackend

__all__ = ["PushReport", "RemoteBackend", "engine_at", "open_store", "push"]

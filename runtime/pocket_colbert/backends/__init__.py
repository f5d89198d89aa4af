"""Search the same documents on Qdrant or LanceDB.

    push(index, "qdrant+https://search.example.com/papers")
    with open_backend("qdrant+https://search.example.com/papers") as backend:
        Retriever(Encoder.for_index(backend.config), backend).retrieve(["a question"])

`address.py` describes addresses, `docs/backends.md` what each engine can and cannot do.
"""

from __future__ import annotations

from pocket_colbert.backends.connect import engine_at, open_backend
from pocket_colbert.backends.pushing import PushReport, push
from pocket_colbert.backends.remote import RemoteBackend

__all__ = ["PushReport", "RemoteBackend", "engine_at", "open_backend", "push"]

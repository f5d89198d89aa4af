"""A few documents to search: two cities, a recipe, and a contract of many passages."""

from __future__ import annotations

from pocket_colbert import Document

FILLER = "The parties have read this paragraph, and nothing in it matters to anybody. " * 8
LIBRARY = [
    Document("paris", "Paris is the capital of France.", "France", {"kind": "city", "year": 987}),
    Document("berlin", "Berlin is the capital of Germany.", None, {"kind": "city", "year": 1871}),
    Document("bread", "Knead the dough for ten minutes.", None, {"kind": "recipe"}),
    Document(
        "contract",
        f"{FILLER}\n\nThe supplier keeps bees on the roof at its own cost.\n\n{FILLER}",
        "Supply agreement",
        {"kind": "legal"},
    ),
]

"""Sites of strangers: what they say of themselves is checked before it is used."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.site.writer import write_site
from tests.support.web import need_web, run_module

Content = dict[str, Any]
OWN = ("IndexFormatError", "ModelFormatError", "InvalidInputError", "FetchError")
SCRIPT = """
    const answers = [];
    for (const site of given) {
        try {
            const index = await pocket.openIndex(site);
            const where = { $not: { a: 1 } };
            await index.search("bees", { mode: "approximate", candidates: 1, where });
            answers.push("found");
        } catch (error) {
            const own = error instanceof pocket.PocketColbertError;
            answers.push(own ? error.name : String(error.stack));
        }
    }
    done(answers);
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    encoder = Encoder.load("tiny")
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, codes="int4")
    index = Index.create(folder / "web.index", config)
    texts = ["Bees swarm in May.", "The tenant pays.", "The moon moves the sea.", "Steel bridges."]
    Retriever(encoder, index).add(
        [Document(f"d{n}", t, None, {"a": n}) for n, t in enumerate(texts)]
    )
    index.commit()
    write_site(index, folder / "site", encoder=encoder)
    return folder / "site"


def put(folder: Path, content: bytes) -> dict[str, Any]:
    """Write a file as the writer of sites does, whatever is in it."""
    stored = gzip.compress(content)
    digest = hashlib.sha256(stored).hexdigest()
    path = f"data/made-{digest[:16]}.bin"
    (folder / path).write_bytes(stored)
    return {
        "path": path, "bytes": len(stored), "size": len(content), "gzip": True, "sha256": digest,
    }  # fmt: skip


def changed(site: Path, target: Path, change: Callable[[Content, Path], None]) -> Path:
    """Copy a site and change what it says of itself."""
    shutil.copytree(site, target)
    manifest = json.loads((target / "search.json").read_bytes())
    content = json.loads(gzip.decompress((target / manifest["content"]["path"]).read_bytes()))
    change(content, target)
    manifest["content"] = put(target, json.dumps(content).encode())
    (target / "search.json").write_text(json.dumps(manifest), encoding="utf-8")
    return target


def setting(name: str, value: Any) -> Callable[[Content, Path], None]:
    def change(content: Content, folder: Path) -> None:
        inner = content
        *path, last = name.split(".")
        for part in path:
            inner = inner[part]
        inner[last] = value

    return change


def filling(name: str, numbers: list[int]) -> Callable[[Content, Path], None]:
    def change(content: Content, folder: Path) -> None:
        raw = b"".join(number.to_bytes(4, "little") for number in numbers)
        content[name] = put(folder, raw)

    return change


CHANGES = [
    setting("dim", 0), setting("dim", 95), setting("dim", 1 << 40), setting("bits", 3),
    setting("bits", 2), setting("shared", [1.0]), setting("shared", ["x"] * 96),
    setting("signs", "+"), setting("documents", 3), setting("documents", 1 << 40),
    setting("passages", 2), setting("passages", 9), setting("order.path", "../secret"),
    setting("order.path", "http://other/x"), setting("order.path", "/etc/passwd"),
    setting("order.bytes", 1), setting("order.size", 3), setting("order.bytes", -1),
    setting("lengths", None), setting("codes.firsts", [1]), setting("codes.firsts", [0, 0]),
    setting("codes.firsts", []), setting("codes.digests", "00"), setting("codes.bytes", [1 << 60]),
    setting("codes.kind", "../x"), setting("texts.sizes", [1]), setting("texts.firsts", [0, 99]),
    setting("model", {}), setting("model", []), setting("fields.a", {"path": "x"}),
    setting("inverted.scales.size", 3), setting("inverted.widening", -1),
    setting("inverted.lists.firsts", [5]), setting("inverted", []),
    filling("order", [0, 1, 2, 2]), filling("order", [0, 1, 2, 9]), filling("counts", [1, 1, 1, 0]),
    filling("counts", [1, 1, 1, 9]), filling("counts", [1, 1]), filling("lengths", [99] * 4),
    filling("lengths", [1 << 31] * 4), filling("lengths", [0, 0, 0, 0]),
]  # fmt: skip


def test_what_makes_no_sense_is_an_error_of_its_own(site: Path, tmp_path: Path) -> None:
    need_web()
    sites = [changed(site, tmp_path / str(n), change) for n, change in enumerate(CHANGES)]
    answers = run_module(SCRIPT, [str(site), *map(str, sites)])
    assert answers[0] == "found"
    assert [n for n, answer in enumerate(answers[1:]) if answer not in OWN] == [], answers


def test_what_unpacks_to_more_than_it_says_is_refused(site: Path, tmp_path: Path) -> None:
    need_web()

    def bomb(content: Content, folder: Path) -> None:
        content["order"] = put(folder, bytes(200_000_000)) | {"size": 16}

    assert run_module(SCRIPT, [str(changed(site, tmp_path / "bomb", bomb))]) == ["IndexFormatError"]

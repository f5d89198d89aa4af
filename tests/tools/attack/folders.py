"""Commands that write, let loose on folders full of links, FIFOs and other names of files.

Before each command an index, an encoded corpus or an output is changed at random places to
something that leads out. Whatever the command does or says, everything outside stays as it was.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from pocket_colbert import Document, Encoder, Index, IndexConfig, PocketColbertError, Retriever
from tests.support.hostile_folder import KINDS, PLACES, SECRET, put, tree
from tests.support.paths import DATA
from tests.tools.attack.children import Child, Say, run_command
from tests.tools.attack.commands import MODEL, PATIENCE, ask, port_of
from tests.tools.attack.tally import Tally

OUTPUTS = ["link to a file", "link to a folder", "dangling link", "hard link", "fifo", "folder",
           "device"]  # fmt: skip
JOB_PLACES = [
    "job.json", "complete.json", "parts", "parts/000000-000000.parquet", "parts/other",
]  # fmt: skip
MODEL_PLACES = ["model.onnx", "tokenizer.json", "onnx_config.json", "README.md"]


class Room:
    """A hostile folder and what lies outside of it."""

    def __init__(self, folder: Path, sound: Path, chance: random.Random) -> None:
        self.root = folder
        self.chance = chance
        self.outside, self.index = folder / "outside", folder / "index"
        self.outside.mkdir()
        (self.outside / "victim").write_bytes(SECRET)
        shutil.copytree(sound / "index", self.outside / "index")
        shutil.copytree(sound / "index" / "segments", self.outside / "segments")
        shutil.copytree(sound / "index", self.index)
        shutil.copytree(sound / "texts", folder / "texts")
        self.sound = sound

    def change(self, folder: Path, places: list[str]) -> str:
        """Put something that leads out at some places of a folder, and say what."""
        said = []
        for _ in range(self.chance.randint(1, 3)):
            place, kind = self.chance.choice(places), self.chance.choice(KINDS)
            put(folder, self.outside, place, kind)
            said.append(f"{kind} at {place}")
        return ", ".join(said)

    def output(self, name: str) -> Path:
        """Return a path at which there is something in the way."""
        path = self.root / name
        put(self.root, self.outside, name, self.chance.choice(OUTPUTS))
        return path


Use = Callable[[Room], tuple[str, Callable[[Say], None]]]


def _command(*names: str) -> Use:
    """Return a use of a hostile index by a command; INDEX is its folder, TEXTS those to index."""

    def use(room: Room) -> tuple[str, Callable[[Say], None]]:
        said = room.change(room.index, PLACES[1:])
        known = {"INDEX": room.index, "TEXTS": room.root / "texts", "NEW": room.root / "new",
                 "SOUND": room.sound / "index"}  # fmt: skip
        arguments = [known.get(name, name) for name in names]
        return said, lambda say: run_command(*arguments)

    return use


def _into(room: Room) -> tuple[str, Callable[[Say], None]]:
    path = room.output("into")
    return "--into", lambda say: run_command("index", room.root / "texts", "--into", path, *MODEL)


def _merge_into(room: Room) -> tuple[str, Callable[[Say], None]]:
    path = room.output("into")
    return "merge --into", lambda say: run_command("merge", room.sound / "index", "--into", path)


def _encoded_into(room: Room) -> tuple[str, Callable[[Say], None]]:
    path = room.output("vectors.npz")
    texts = room.root / "texts" / "0.txt"
    return "encode", lambda say: run_command("encode", texts, "-o", path, *MODEL)


def _job(room: Room) -> tuple[str, Callable[[Say], None]]:
    """Take up, finish and collect an encoding job."""
    from pocket_colbert.distributed.collecting import index_encoded
    from pocket_colbert.distributed.parquet import EncodedCorpus
    from tests.support.encoding_job import do_a_job

    do_a_job(room.root / "job")
    shutil.copytree(room.root / "job" / "parts", room.outside / "parts")
    said = room.change(room.root / "job", JOB_PLACES)

    def work(say: Say) -> None:
        with suppress(PocketColbertError):
            do_a_job(room.root / "job")
        with suppress(PocketColbertError):
            index_encoded(EncodedCorpus(room.root / "job"), room.root / "new")

    return said, work


def _model(room: Room) -> tuple[str, Callable[[Say], None]]:
    """Index with a model folder that leads out."""
    shutil.copytree(DATA / "tiny-colbert", room.root / "model")
    said = room.change(room.root / "model", MODEL_PLACES)
    arguments = ["index", room.root / "texts", "--into", room.root / "new"]
    return said, lambda say: run_command(*arguments, "--model", room.root / "model")


def _bundle(room: Room) -> tuple[str, Callable[[Say], None]]:
    """Check and copy the index as `bundle` does, without the libraries."""
    from pocket_colbert.deploy.lambda_zip import _copied, _index_files
    from pocket_colbert.storage.contained import Contained
    from pocket_colbert.storage.files import atomic_file
    from pocket_colbert.storage.manifest import Manifest

    said = room.change(room.index, PLACES[1:])
    path = room.output("out.zip")

    def work(say: Say) -> None:
        with suppress(PocketColbertError, OSError):
            manifest = Manifest.load(room.index)
            copies = _copied(_index_files(Contained(room.index), manifest), room.root / "here")
            for copy in copies.values():
                assert not SECRET.startswith(copy.read_bytes() or b"-"), copy
        with suppress(PocketColbertError, OSError), atomic_file(path) as unverified:
            unverified.write_bytes(b"PK")

    return said, work


def _push(room: Room) -> tuple[str, Callable[[Say], None]]:
    """Push a hostile index to a table of its own."""
    said = room.change(room.index, PLACES[1:])
    to = f"lance://{room.root / 'tables'}/papers"
    return said, lambda say: run_command("push", room.index, "--to", to)


def _export(room: Room) -> tuple[str, Callable[[Say], None]]:
    """Write a model folder where there is something in the way."""
    from pocket_colbert_export.folder.write_folder import new_folder

    path = room.output("model")

    def work(say: Say) -> None:
        with suppress(Exception), new_folder(path, overwrite=True) as folder:
            (folder / "model.onnx").write_bytes(b"x")

    return "export", work


USES: dict[str, Use] = {
    "index": _command("index", "TEXTS", "--into", "INDEX", *map(str, MODEL)),
    "index --overwrite": _command(
        "index", "TEXTS", "--into", "INDEX", "--overwrite", *map(str, MODEL)
    ),
    "delete": _command("delete", "INDEX", "0.txt"),
    "compact": _command("compact", "INDEX"),
    "merge": _command("merge", "INDEX", "SOUND", "--replace", "--into", "NEW"),
    "check": _command("check", "INDEX"),
    "search": _command("search", "INDEX", "bees", *map(str, MODEL)),
    "index --into": _into,
    "merge --into": _merge_into,
    "encode -o": _encoded_into,
    "encoding job": _job,
    "model folder": _model,
    "bundle": _bundle,
    "push": _push,
    "export": _export,
}


def use_hostile_folders(tally: Tally, tries: int, seed: int, temporary: Path) -> None:
    """Use hostile folders by every command in turn, and by `serve` now and then."""
    sound = temporary / "sound"
    _make_sound(sound)
    for number in range(tries):
        if tally.over:
            break
        chance = random.Random(seed * 1_000_003 + number)
        root = temporary / f"room {number}"
        root.mkdir()
        room = Room(root, sound, chance)
        name = [*USES, "serve"][number % (len(USES) + 1)]
        if name == "serve":
            said, before = room.change(room.index, PLACES[1:]), tree(room.outside)
            problem = _serve(room)
        else:
            said, work = USES[name](room)
            before = tree(room.outside)
            child = Child(work, temporary / "output")
            code, problem = child.end(None, PATIENCE), None
            if code is None or code < 0 or "Traceback" in child.printed():
                problem = f"ended with {code}: {child.printed()[-2000:]}"
            tally.counts["worked" if code == 0 else "refused"] += 1
        tally.tried += 1
        if tree(room.outside) != before:
            problem = "something outside has changed"
        if problem is not None:
            tally.fail(f"{name}, {said}: {problem}")
        shutil.rmtree(root)


def _make_sound(folder: Path) -> None:
    (folder / "texts").mkdir(parents=True)
    for number in range(4):
        (folder / "texts" / f"{number}.txt").write_text(f"bees on roof {number}")
    encoder = Encoder.load(DATA / "tiny-colbert", threads=1)
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, inverted_file="always")
    with Index.create(folder / "index", config, threads=1) as index:
        for part in range(2):
            Retriever(encoder, index).add(
                [Document(f"d{part}{n}", f"capital {n} {np.pi}") for n in range(3)]
            )
            index.commit()
        index.delete(["d01", "d12"])


def _serve(room: Room) -> str | None:
    """Add and delete through a server; return what goes wrong with the server."""
    arguments = ["serve", room.index, "--port", 0, *MODEL, "--threads", 1]
    child = Child(lambda say: run_command(*arguments), room.root / "output")
    port = port_of(child)
    if port is not None:
        new = {"documents": [{"id": "new", "text": "bees"}, {"id": "d00", "text": "roof"}]}
        for request in (
            ("PUT", "/api/documents", json.dumps(new).encode()),
            ("DELETE", "/api/documents?id=d00", b""),
        ):
            with suppress(PocketColbertError, OSError):
                ask(port, *request)
    with suppress(ProcessLookupError):
        os.kill(child.pid, 15)
    code = child.end(None, PATIENCE)
    wrong = code is None or code < 0 or "Traceback" in child.printed()
    return f"ended with {code}: {child.printed()[-2000:]}" if wrong else None

"""Walks through the code of a checkout: which files a search, an index and an export visit.

A walk is every Python call into the packages of the checkout, in order, under `sys.setprofile`. A
stay is a run of calls into one file. Each walk is taken twice: the first time caches are filled.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

DOCUMENTS = [
    {"_id": f"d{n}", "title": f"Title {n}", "text": text, "year": 1990 + n}
    for n, text in enumerate(
        [
            "Paris is the capital of France.", "Berlin is the capital of Germany.",
            "Knead the dough for ten minutes.", "The supplier keeps bees on the roof.",
            "Rivers flow into the sea.", "Voltage is measured in volts.",
            "A colony swarms when the queen lacks room.", "Ships are moored in the harbour.",
            "The moon moves the tides.", "Bridges are built of steel.",
        ]
    )
]  # fmt: skip
QUERY = "Which city is the capital?"


class Walk:
    """The calls into the packages of a checkout, as a profile function."""

    def __init__(self, root: Path) -> None:
        """Take the folder whose files count."""
        self.folders = (f"{root}/runtime/", f"{root}/export/")
        self.files: list[str] = []
        self.pairs: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call."""
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(self.folders):
            return
        if frame.f_code.co_name == "<module>":  # an import
            return
        self.files.append(path)
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(self.folders):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != path:
            self.pairs[caller.f_code.co_filename, path, frame.f_code.co_name] += 1

    def taken(self, call: Callable[[], object]) -> Walk:
        """Run something under this walk."""
        sys.setprofile(self)
        try:
            call()
        finally:
            sys.setprofile(None)
        return self

    def counts(self, within: str = "") -> tuple[int, int]:
        """Return the files visited and the stays in them, of paths that hold `within`."""
        files = [path for path in self.files if within in path]
        stays = sum(n == 0 or files[n - 1] != path for n, path in enumerate(files))
        return len(set(files)), stays


def command_of(root: Path, name: str) -> str:
    """Return the module and function of a console script, as pyproject.toml gives it."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(rf'^{name} = "(.+)"$', text, flags=re.MULTILINE)
    assert match is not None, f"{root}/pyproject.toml has no script {name}"
    return match[1]


def walks_of(root: Path) -> dict[str, Any]:
    """Take all walks through a checkout, whose packages must be the ones that are imported."""
    from importlib import import_module

    from pocket_colbert import Encoder, Index, Retriever

    module, _, function = command_of(root, "pocket-colbert").partition(":")
    command = getattr(import_module(module), function)
    model = root / "models" / "tiny"
    facts: dict[str, Any] = {}
    upward: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lines = [json.dumps(row) + "\n" for row in DOCUMENTS]
        (folder / "four.jsonl").write_text("".join(lines[:4]), encoding="utf-8")
        (folder / "ten.jsonl").write_text("".join(lines), encoding="utf-8")

        def index(source: str, name: str) -> None:
            arguments = ["index", folder / source, "--into", folder / name, "--model", model,
                         "--threads", 1]  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                command([str(argument) for argument in arguments], standalone_mode=False)

        index("ten.jsonl", "ten.index")
        walks = [Walk(root).taken(lambda n=n: index("four.jsonl", f"{n}.index")) for n in range(2)]
        note(facts, "index of 4 documents", walks)
        retriever = Retriever(Encoder.load(model, threads=1), Index.load(folder / "ten.index"))
        plain = [Walk(root).taken(lambda: retriever.retrieve([QUERY], 3)) for _ in range(2)]
        note(facts, "retrieve", plain)
        where = {"year": {"$gte": 1992}}
        filtered = [
            Walk(root).taken(lambda: retriever.retrieve([QUERY], 3, where=where)) for _ in range(2)
        ]
        note(facts, "retrieve with where", filtered)
        walks += plain + filtered
        retriever.index.close()
        if has_torch():
            exports = [Walk(root).taken(lambda n=n: export(root, folder / f"m{n}")) for n in (0, 1)]
            note(facts, "export", exports, within="/export/")
            walks += exports
        for walk in walks:
            upward.update(upward_calls(root, walk))
        facts |= page_of(root, folder)
    facts["calls to a higher floor"] = len(upward)
    facts["lists"] = {
        "Calls to a higher floor": [f"{n:4} {call}" for call, n in upward.most_common()]
    }
    return facts


def note(facts: dict[str, Any], name: str, walks: list[Walk], within: str = "") -> None:
    """Add a walk, the first time and again, to the facts."""
    for when, walk in zip(("first", "again"), walks, strict=True):
        files, stays = walk.counts(within)
        facts[f"{name}, {when}: files"] = files
        facts[f"{name}, {when}: stays"] = stays


def has_torch() -> bool:
    """Return whether the exporter can run."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("torch", "transformers", "optimum"))


def export(root: Path, target: Path) -> None:
    """Export the tiny PyLate checkpoint."""
    import warnings

    from pocket_colbert_export import export_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_model(root / "tests/data/checkpoints/pylate", target, precision="fp32")


def upward_calls(root: Path, walk: Walk) -> Counter[str]:
    """Return the calls from a module into one that imports it: callbacks and objects handed down.

    Modules that import each other in neither direction count too.
    """
    import grimp

    graph = grimp.build_graph("pocket_colbert", "pocket_colbert_export", cache_dir=None)
    calls: Counter[str] = Counter()
    for (caller, callee, function), count in walk.pairs.items():
        above, below = module_at(root, caller), module_at(root, callee)
        if not graph.chain_exists(importer=above, imported=below):
            calls[f"{above} -> {below}.{function}"] += count
    return calls


def module_at(root: Path, path: str) -> str:
    """Return the name of the module in a file."""
    parts = Path(path).relative_to(root).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


COUNTED = """
import json, os, sqlite3, sys
import onnxruntime, tokenizers
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(kind, text):
    os.write(log, (json.dumps([kind, text]) + "\\n").encode())

class Counted:
    def __init__(self, inner):
        self.__dict__["inner"] = inner
    def __getattr__(self, name):
        return getattr(self.inner, name)
    def __setattr__(self, name, value):
        setattr(self.inner, name, value)
    def encode(self, text, *args, **options):
        note("tokenise", text)
        return self.inner.encode(text, *args, **options)
    def encode_batch(self, texts, *args, **options):
        for text in texts: note("tokenise", text)
        return self.inner.encode_batch(texts, *args, **options)
    def encode_batch_fast(self, texts, *args, **options):
        for text in texts: note("tokenise", text)
        return self.inner.encode_batch_fast(texts, *args, **options)

class Maker:
    def __getattr__(self, name):
        made = getattr(original, name)
        if not name.startswith("from_"):
            return made
        return lambda *args, **options: Counted(made(*args, **options))

original, tokenizers.Tokenizer = tokenizers.Tokenizer, Maker()
connect = sqlite3.connect

def counted_connect(*args, **options):
    connection = connect(*args, **options)
    connection.set_trace_callback(lambda statement: note("sql", statement))
    return connection

sqlite3.connect = counted_connect
for name in ("run", "run_with_iobinding", "run_with_ort_values"):
    def counted(self, *args, inner=getattr(onnxruntime.InferenceSession, name), **options):
        if "input_ids" in [item.name for item in self.get_inputs()]:
            note("model", "")
        return inner(self, *args, **options)
    setattr(onnxruntime.InferenceSession, name, counted)
"""
"""Run before the command: logs tokenised texts, SQL statements and runs of the model."""


def page_of(root: Path, folder: Path) -> dict[str, int]:
    """Return the work behind one page of ten explained hits of the server, once it is warm."""
    module, _, function = command_of(root, "pocket-colbert").partition(":")
    log = folder / "counted.jsonl"
    script = f"{COUNTED}\nfrom {module} import {function}\n{function}(sys.argv[2:])"
    process = subprocess.Popen(
        [sys.executable, "-c", script, log, "serve", folder / "ten.index", "--model",
         root / "models/tiny", "--port", "0"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "Serving" in line, line + process.stderr.read()
        for query in ("What is built of steel?", QUERY):
            before = len(log.read_text(encoding="utf-8").splitlines())
            ask(line.split()[-1], query)
        entries = [json.loads(text) for text in log.read_text(encoding="utf-8").splitlines()]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stderr.close()
    tokenised = [text for kind, text in entries[before:] if kind == "tokenise"]
    queries = sum(QUERY in text for text in tokenised)
    statements = [text for kind, text in entries[before:] if kind == "sql"]
    return {
        "page of 10 explained hits: tokenisations of the query": queries,
        "page of 10 explained hits: tokenisations of passages": len(tokenised) - queries,
        "page of 10 explained hits: SQL statements": sum(
            not text.startswith(("--", "PRAGMA")) for text in statements
        ),
        "page of 10 explained hits: runs of the model": sum(
            kind == "model" for kind, _ in entries[before:]
        ),
    }


def ask(address: str, query: str) -> None:
    """Ask the server for ten hits, each explained and with a snippet."""
    body = {"query": query, "k": 10, "explain": True, "snippet_length": 60}
    request = urllib.request.Request(
        f"{address.rstrip('/')}/api/search", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:
        hits = json.load(answer)["hits"]
    assert len(hits) == 10, hits

"""What `doctor` looks at: versions, the processor, models, providers, extras and the cache."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_NEEDED = (
    "onnxruntime", "numpy", "tokenizers", "usearch", "numkong", "fastcluster", "click", "rich",
    "charset-normalizer", "markdown-it-py", "pathspec", "platformdirs", "selectolax",
)  # fmt: skip
"""What the package is installed with."""
_EXTRAS = {
    "files": ("pypdfium2", "docx", "openpyxl", "pptx", "striprtf", "defusedxml"),
    "server": ("starlette", "uvicorn", "msgspec", "prometheus_client", "threadpoolctl"),
    "mcp": ("mcp",),
    "eval": ("ir_measures", "matplotlib"),
    "langchain": ("langchain_core",),
    "llama-index": ("llama_index",),
    "haystack": ("haystack",),
    "qdrant": ("qdrant_client",),
    "lance": ("lancedb",),
    "ray": ("ray",),
    "export": ("torch", "transformers", "onnx", "safetensors"),
}
"""The modules that each extra brings."""
_FOR = {
    "files": "index PDF, Office files and books",
    "server": "serve",
    "mcp": "mcp",
    "eval": "evaluate and tune",
    "langchain": "LangChain",
    "llama-index": "LlamaIndex",
    "haystack": "Haystack",
    "qdrant": "push to Qdrant and search it",
    "lance": "push to LanceDB and search it",
    "ray": "encode-corpus",
    "export": "pocket-colbert-export",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: What it belongs to.
        name: What was looked at.
        value: What there is, for people.
        state: "ok", "missing" (it could be there, and need not) or "broken".
        advice: What to do about it.
    """

    section: str
    name: str
    value: str
    state: str = "ok"
    advice: str = ""


def findings(model: str | None = None) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Args:
        model: A model to look at beside the bundled ones.
    """
    sections: dict[str, Callable[[], Iterable[Finding]]] = {
        "Versions": _versions,
        "Processor": _processor,
        "Models": lambda: _models(model),
        "Providers": _providers,
        "Extras": _extras,
        "Cache": _cache,
    }
    for name, look in sections.items():
        try:
            yield from look()
        except ImportError as error:  # said by its name above, and the rest is looked at
            yield Finding(
                section=name, name=error.name or "a module", value=f"cannot be loaded ({error})",
                state="broken", advice="pip install --force-reinstall pocket-colbert",
            )  # fmt: skip


def _versions() -> Iterator[Finding]:
    section = "Versions"
    version = _version("pocket-colbert")
    yield Finding(section=section, name="pocket-colbert", value=version or "a checkout")
    yield Finding(
        section=section, name="Python",
        value=f"{platform.python_version()} ({platform.python_implementation()}, "
        f"{platform.system()} {platform.machine()})",
    )  # fmt: skip
    for name in _NEEDED:
        version = _version(name)
        if version is None and not (name == "onnxruntime" and _version("onnxruntime-gpu")):
            yield Finding(
                section=section, name=name, value="not installed", state="broken",
                advice=f"pip install {name}",
            )  # fmt: skip
        elif name in ("onnxruntime", "numpy", "tokenizers", "usearch"):
            yield Finding(
                section=section, name=name, value=version or _version("onnxruntime-gpu") or ""
            )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> Iterator[Finding]:
    from pocket_colbert.hardware import int8_may_overflow, processor_features, usable_cores

    section = "Processor"
    yield Finding(section=section, name="cores", value=str(usable_cores()))
    features = processor_features()
    has = ", ".join(name for name, there in features.items() if there) or "none"
    lacks = ", ".join(name for name, there in features.items() if not there)
    yield Finding(section=section, name="features", value=f"{has} (not {lacks})")
    if int8_may_overflow():
        yield Finding(
            section=section, name="note",
            value="without VNNI int8 products take a slower, exact way",
        )  # fmt: skip


def _models(model: str | None) -> Iterator[Finding]:
    from pocket_colbert.model.folder import DEFAULT_MODEL, bundled_models, models_folder

    names = list(bundled_models())
    if DEFAULT_MODEL not in names:
        yield Finding(
            section="Models", name=DEFAULT_MODEL, value=f"not in {models_folder()}", state="broken",
            advice="pip install --force-reinstall pocket-colbert",
        )  # fmt: skip
    for name in [*names, *([model] if model else [])]:
        yield _model(name, name in names, name == DEFAULT_MODEL)


def _model(name: str, bundled: bool, default: bool) -> Finding:
    """Load a model, which checks its files, and encode a sentence."""
    from pocket_colbert.errors import PocketColbertError
    from pocket_colbert.model.encoder import Encoder

    try:
        encoder = Encoder.load(name, threads=1)
        (vectors,) = encoder.encode_document(["Bees swarm in May."])
    except (PocketColbertError, OSError, RuntimeError, ImportError) as error:
        advice = "pip install --force-reinstall pocket-colbert" if bundled else "export it again"
        return Finding(section="Models", name=name, value=str(error), state="broken", advice=advice)
    languages = ", ".join(encoder.card.languages) or "unknown languages"
    return Finding(
        section="Models", name=name,
        value=f"{'the default, ' if default else ''}{encoder.dim} dimensions, {languages}; files "
        f"checked, encodes ({len(vectors)} token vectors)",
    )  # fmt: skip


def _providers() -> Iterator[Finding]:
    from pocket_colbert.vectors.providers import available_providers

    for name in available_providers():
        yield Finding(section="Providers", name=name, value="available")


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding(
                section="Extras", name=extra, value=f"not installed; needed for: {_FOR[extra]}",
                state="missing", advice=f"pip install 'pocket-colbert[{extra}]'",
            )  # fmt: skip
        else:
            yield Finding(section="Extras", name=extra, value="installed")


def _cache() -> Iterator[Finding]:
    from pocket_colbert.cli.common import readable_size
    from pocket_colbert.errors import PocketColbertError
    from pocket_colbert.ingest.cache_folder import VARIABLE, cache_entries, cache_folder

    folder = cache_folder()
    problem = ""
    try:
        entries = cache_entries()
        if not os.access(_nearest(folder), os.W_OK):
            problem = "cannot be written to"
    except (PocketColbertError, OSError) as error:
        problem = str(error)
    if problem:
        yield Finding(
            section="Cache", name=str(folder), value=problem, state="broken",
            advice=f"name another folder in {VARIABLE}",
        )  # fmt: skip
        return
    size = readable_size(sum(item.bytes for item in entries))
    count = len(entries)
    value = f"{count} index{'es' * (count != 1)}, {size}"
    yield Finding(section="Cache", name=str(folder), value=value)


def _nearest(folder: Path) -> Path:
    """Return a folder, or the one above it that is there."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def as_json(found: Sequence[Finding]) -> dict[str, Any]:
    """Return findings by section and name."""
    values: dict[str, Any] = {}
    for item in found:
        entry = {"value": item.value, "state": item.state}
        if item.advice:
            entry["advice"] = item.advice
        values.setdefault(item.section.lower(), {})[item.name] = entry
    return values

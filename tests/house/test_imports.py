"""What may import what: the contracts of pyproject.toml, and what a fresh process loads."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pocket_colbert
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib: Any = None

RUNTIME = Path(pocket_colbert.__file__).parent
THIRD_PARTY = {
    "charset_normalizer", "click", "defusedxml", "docx", "fastcluster", "grpc",
    "haystack", "huggingface_hub", "ir_measures", "lance", "lancedb", "langchain_core",
    "llama_index", "markdown_it", "matplotlib", "mcp", "msgspec", "mteb", "numkong", "numpy",
    "onnxruntime", "openpyxl", "pathspec", "platformdirs", "pptx", "prometheus_client", "pyarrow",
    "pydantic", "pypdfium2", "qdrant_client", "ray", "rerankers", "rich", "selectolax", "sqlite3",
    "starlette", "striprtf", "threadpoolctl", "tokenizers", "usearch", "uvicorn",
}  # fmt: skip
FRAMEWORKS = {
    "haystack": {"haystack"}, "haystack_store": {"haystack"},
    "langchain": {"langchain_core", "pydantic"},
    "langchain_store": {"langchain_core"},
    "llama_index": {"llama_index"}, "llama_index_store": {"llama_index"},
    "mteb": {"mteb"}, "rerankers": {"rerankers"},
}  # fmt: skip

needs_lint_imports = pytest.mark.skipif(
    tomllib is None or not importlib.util.find_spec("importlinter"),
    reason="needs import-linter, which needs Python 3.11",
)


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, names imported from a module among them."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return modules


def packages_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {module.partition(".")[0] for module in imports_of(path)}


@needs_lint_imports
def test_contracts_are_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()",
         "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_lint_imports
def test_every_third_party_package_has_a_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    protected = {name for item in contracts for name in item.get("protected_modules", [])}
    assert protected - {"pocket_colbert"} == THIRD_PARTY - {"numpy"}


def test_the_runtime_imports_no_other_third_party_package() -> None:
    own = {*sys.stdlib_module_names, "pocket_colbert"} - {"sqlite3"}
    files = [path for path in RUNTIME.rglob("*.py") if not path.is_relative_to(RUNTIME / "models")]
    packages = set().union(*map(packages_of, files))
    assert packages - own == THIRD_PARTY


def test_an_integration_imports_its_framework_and_no_other() -> None:
    own = {*sys.stdlib_module_names, "pocket_colbert", "numpy"}
    files = {path.stem: path for path in (RUNTIME / "integrations").glob("*.py")}
    assert files.keys() >= FRAMEWORKS.keys()
    for name, path in files.items():
        assert packages_of(path) - own == FRAMEWORKS.get(name, set()), name


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_nothing_imports_a_test_module(folder: str) -> None:
    """What tests share is in tests/support, so that a test file can be read and moved alone."""
    for path in (ROOT / folder).rglob("*.py"):
        for module in imports_of(path):
            package, _, rest = module.partition(".")
            if package == "tests":
                assert rest != "" and not rest.startswith("conftest"), f"{path} imports {module}"
                assert ".test_" not in module, f"{path} imports {module}"


def loaded_by(script: str) -> set[str]:
    """Return the modules that a script loads into a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules)\n{script}\n"
         "print(*set(sys.modules) - before)"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_search_loads_only_allowed_packages() -> None:
    """`import pocket_colbert` and a search, in a fresh process."""
    script = (
        "import pocket_colbert; "
        "e = pocket_colbert.Encoder.load(threads=1); i = pocket_colbert.Index(e.dim); "
        "i.add(['a'], e.encode_document(['x'])); "
        "pocket_colbert.Retriever(e, i).retrieve(['x'])"
    )
    modules = {module.partition(".")[0] for module in loaded_by(script)}
    # An index without an inverted file is searched: it is not needed.
    assert "usearch" not in modules
    allowed = {
        "pocket_colbert", "numpy", "onnxruntime", "tokenizers", "numkong", "tqdm",
        "flatbuffers", "packaging", "google", "simsimd", "coloredlogs", "humanfriendly",
    }  # fmt: skip
    foreign = {
        m for m in modules if m not in sys.stdlib_module_names and not m.startswith("_")
    } - allowed
    assert not foreign
    for banned in (
        "torch",
        "transformers",
        "huggingface_hub",
        "click",
        "rich",
        "scipy",
        "onnx",
        "starlette",
    ):
        assert banned not in modules


def test_public_names_and_commands_are_loaded_when_they_are_used() -> None:
    assert not loaded_by("import pocket_colbert") & THIRD_PARTY
    loaded = loaded_by("from pocket_colbert.cli.commands import main")
    assert not loaded & (THIRD_PARTY - {"click"})


@pytest.mark.parametrize(
    "first",
    [
        "import pocket_colbert",
        pytest.param(
            "from pocket_colbert_export import export_model; import pocket_colbert",
            marks=pytest.mark.torch,
        ),
    ],
    ids=["runtime", "exporter"],
)
def test_searching_writes_nothing_to_the_home_folder(first: str, tmp_path: Path) -> None:
    """Telemetry of onnxruntime would leave a device id and a database of events there."""
    script = (
        f"{first}; "
        "e = pocket_colbert.Encoder.load('tiny', threads=1); i = pocket_colbert.Index(e.dim); "
        "i.add(['a'], e.encode_document(['x'])); pocket_colbert.Retriever(e, i).retrieve(['x'])"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    subprocess.run([sys.executable, "-c", script], env={**kept, "HOME": str(tmp_path)}, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

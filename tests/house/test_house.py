"""The rules of the house, as tests: floors, imports, public names, README, wheel."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pocket_colbert
from pocket_colbert import errors

ROOT = Path(__file__).parents[2]
RUNTIME = Path(pocket_colbert.__file__).parent

FLOORS = [
    {"errors", "results", "cpu", "scratch", "files", "sources"},
    {"config", "filters", "ids", "lock"},
    {"metadata"},
    {"ward", "quantization", "selection", "passages", "documents", "manifest"},
    {"pruning", "document_checks"},
    {"maxsim", "product", "model_files", "tokenizer", "session", "ann"},
    {"batching"},
    {"token_rows", "encoder", "explanation", "gpu"},
    {"inverted", "pending"},
    {"segment"},
    {"keywords", "merging", "snapshot", "folder", "index_info", "checking", "store"},
    {"searching", "field_values"},
    {"searchable"},
    {"index"},
    {"joined"},
    {"retriever"},
    {"display"},
    {"__init__"},
    {"corpus", "sync", "serverless", "bundle"},
    {"stores.address", "stores.record", "stores.rows"},
    {"stores.engine", "stores.arrow_rows"},
    {"stores.qdrant", "stores.lance", "stores.remote"},
    {"stores.opening"},
    {"stores.pushing"},
    {"stores.__init__"},
    {"bulk.places"},
    {"bulk.sources"},
    {"bulk.job"},
    {"bulk.target"},
    {"bulk.parquet", "bulk.lance_table"},
    {"bulk.opening", "bulk.collecting"},
    {"bulk.workers"},
    {"bulk.encoding"},
    {"bulk.__init__"},
    {"server.__init__", "server.messages", "server.problems"},
    {"server.indexing", "server.sources"},
    {"server.gate", "server.openapi", "server.security", "server.service"},
    {"server.writing"},
    {"server.app", "server.run"},
    {"evaluation"},
    {"tuning"},
    {"plotting"},
    {"cli_common"},
    {
        "cli_measure",
        "cli_index",
        "cli_bundle",
        "cli_serve",
        "cli_completion",
        "cli_stores",
        "cli_bulk",
    },
    {"cli"},
]
ONLY_IMPORTERS = {
    "onnxruntime": {"session", "product"},
    "tokenizers": {"tokenizer"},
    "usearch": {"ann"},
    "sqlite3": {"documents"},
    "filelock": {"lock"},
    "numkong": {"cpu"},
    "click": {
        "cli",
        "cli_common",
        "cli_index",
        "cli_measure",
        "cli_bundle",
        "cli_serve",
        "cli_completion",
        "cli_stores",
        "cli_bulk",
    },  # fmt: skip
    "msgspec": {"server.messages", "server.openapi", "server.app", "server.service"},
    "starlette": {"server.app"},
    "uvicorn": {"server.run"},
    "threadpoolctl": {"server.run"},
    "rich": {"cli_common"},
    "ir_measures": {"evaluation"},
    "matplotlib": {"plotting"},
    "huggingface_hub": {"model_files"},
    "qdrant_client": {"stores.qdrant"},
    "grpc": {"stores.qdrant"},
    "lancedb": {"stores.lance"},
    "lance": {"bulk.lance_table"},
    "pyarrow": {
        "stores.lance", "stores.arrow_rows", "bulk.places", "bulk.sources", "bulk.parquet",
    },
    "ray": {"bulk.workers"},
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_files_import_only_from_floors_below() -> None:
    floor_of = {name: n for n, floor in enumerate(FLOORS) for name in floor}
    files = {
        ".".join(path.relative_to(RUNTIME).with_suffix("").parts): path
        for path in RUNTIME.rglob("*.py")
        if path.parent.name != "integrations"
    }
    assert set(files) == set(floor_of)
    for name, path in files.items():
        for imported in imports_of(path):
            package, _, module = imported.partition(".")
            if package == "pocket_colbert":
                below = module or "__init__"
                assert floor_of[below] < floor_of[name], f"{name} imports {below}"
            assert package not in ("torch", "transformers", "pocket_colbert_export"), name
            if package in ONLY_IMPORTERS:
                assert name in ONLY_IMPORTERS[package], f"{name} imports {package}"


def test_integrations_stand_on_top_and_keep_to_one_framework_each() -> None:
    frameworks = {
        "__init__": set(), "common": set(), "langchain": {"langchain_core", "pydantic"},
        "llama_index": {"llama_index"}, "haystack": {"haystack"}, "mteb": {"mteb"},
        "rerankers": {"rerankers"},
    }  # fmt: skip
    files = {path.stem: path for path in (RUNTIME / "integrations").glob("*.py")}
    assert set(files) == set(frameworks)
    for name, path in files.items():
        packages = {imported.partition(".")[0] for imported in imports_of(path)}
        foreign = packages - set(sys.stdlib_module_names) - {"pocket_colbert"}
        assert foreign == frameworks[name], name
        siblings = {i for i in imports_of(path) if i.startswith("pocket_colbert.integrations")}
        assert siblings <= {"pocket_colbert.integrations.common"}, name
    for path in RUNTIME.glob("*.py"):
        assert not any("integrations" in imported for imported in imports_of(path)), path


def test_importing_stays_on_the_allow_list() -> None:
    """What `import pocket_colbert` and a search bring in, seen from a fresh process."""
    script = (
        "import sys; before = set(sys.modules); import pocket_colbert; "
        "e = pocket_colbert.Encoder.load(threads=1); i = pocket_colbert.Index(e.dim); "
        "i.add(['a'], e.encode_document(['x'])); "
        "pocket_colbert.Retriever(e, i).retrieve(['x']); "
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )  # fmt: skip
    modules = set(done.stdout.split())
    # An index without an inverted file is searched, and none is written: neither is needed.
    assert not {"usearch", "filelock"} & modules
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


def test_exported_members() -> None:
    """What type checkers see, what is there when it is asked for, and `__all__` are the same."""
    tree = ast.parse((RUNTIME / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: (node.module or "").removeprefix("pocket_colbert.")
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert seen == pocket_colbert._HOMES
    assert set(seen) | {"__version__"} == set(pocket_colbert.__all__) <= set(dir(pocket_colbert))
    assert pocket_colbert.__all__ == sorted(pocket_colbert.__all__)
    for name in seen:
        assert getattr(pocket_colbert, name).__module__ == f"pocket_colbert.{seen[name]}"
    with pytest.raises(AttributeError, match="no attribute 'Enkoder'"):
        pocket_colbert.Enkoder  # noqa: B018


def loaded_by(script: str) -> set[str]:
    """Return the modules that a fresh process has after a script, and that it had not before."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules)\n{script}\n"
         "print(*set(sys.modules) - before)"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_names_are_imported_when_they_are_used() -> None:
    third_party = set(ONLY_IMPORTERS) | {"numpy"}
    assert not loaded_by("import pocket_colbert") & third_party
    assert not loaded_by("from pocket_colbert.cli.commands import main") & (third_party - {"click"})


@pytest.mark.parametrize(
    "other",
    [
        "",
        "import pocket_colbert.vectors.maxsim_codes",
        "from pocket_colbert import Retriever",
        "import pocket_colbert.maxsim",
        "import pocket_colbert.maxsim as m; assert m.maxsim_pairwise(q, [d]) == m(q, d) == 1",
        "from pocket_colbert.maxsim import maxsim_pairwise as p; assert p(q, [d]) == 1",
        "import importlib as i; i.import_module('pocket_colbert.maxsim').maxsim_pairwise(q, [d])",
    ],
)
def test_maxsim_is_a_function_and_a_module(other: str) -> None:
    """Whichever is imported first, neither takes the place of the other."""
    arrays = "import numpy as np\nq = d = np.ones((1, 1), np.float32)"
    function = (
        "from pocket_colbert import maxsim, maxsim_pairwise\nimport pocket_colbert\n"
        "assert maxsim(q, d) == maxsim_pairwise(q, [d]) == pocket_colbert.maxsim(q, d) == 1"
    )
    for parts in ((arrays, other, function), (arrays, function, other, function)):
        loaded_by("\n".join(parts))


def test_every_error_has_the_one_base_and_is_in_the_tree() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert value.__doc__
            if name != "TruncationWarning":
                assert issubclass(value, errors.PocketColbertError)
            assert name in (errors.__doc__ or "")
            assert name in pocket_colbert.__all__


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_readme_python_runs(tmp_path: Path) -> None:
    blocks = readme_blocks("python")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "d1"


def test_readme_names_commands_that_exist() -> None:
    from pocket_colbert.cli.commands import main

    for line in "\n".join(readme_blocks("bash")).splitlines():
        words = line.split()
        if words and words[0] == "pocket-colbert":
            command = main.commands[words[1]]
            known = {option for item in command.params for option in item.opts}
            assert {w for w in words if w.startswith("--")} <= known, line


def test_runtime_files_stay_readable() -> None:
    for path in [*RUNTIME.rglob("*.py"), *(ROOT / "export").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 550, path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout")
def test_wheel_carries_the_model(tmp_path: Path) -> None:
    """Build a wheel, unpack it away from the checkout, and use it alone."""
    import zipfile

    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            ROOT,
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 45e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for name in ("model_int8.onnx", "tokenizer.json", "onnx_config.json", "NOTICE", "README.md"):
        for model in ("small", "tiny"):
            assert f"pocket_colbert/models/{model}/{name}" in names
    for name in (
        "pocket_colbert/py.typed",
        "pocket_colbert/integrations/langchain.py",
        "pocket_colbert/server/page/index.html",
        "pocket_colbert_export/proof/data/probe.jsonl",
        "pocket_colbert/vectors/onnx_graphs/product.onnx",
    ):
        assert name in names
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import pocket_colbert as p; "
        "assert p.__file__.startswith(sys.path[0]); e = p.Encoder.load(); "
        "print(p.Retriever(e).rerank('where is Paris?', ['Bread.', 'Paris is in France.'])[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )  # fmt: skip
    assert done.stdout.strip() == "Paris is in France."

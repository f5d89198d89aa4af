"""The rules of the house, as tests: floors, imports, public names, README, wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pocket_colbert
from pocket_colbert import errors

ROOT = Path(__file__).parents[1]
RUNTIME = Path(pocket_colbert.__file__).parent

FLOORS = [
    {"errors", "results", "cpu", "scratch", "files"},
    {"config", "filters", "lock"},
    {"ward", "quantization", "selection", "passages", "documents", "manifest"},
    {"pruning"},
    {"maxsim", "product", "model_files", "tokenizer", "session", "ann"},
    {"token_rows", "encoder", "explanation"},
    {"inverted", "pending"},
    {"segment"},
    {"keywords", "merging", "snapshot", "folder", "index_info", "checking"},
    {"searching"},
    {"index"},
    {"retriever"},
    {"__init__"},
    {"corpus", "sync"},
    {"evaluation"},
    {"tuning"},
    {"plotting"},
    {"cli_common"},
    {"cli_measure", "cli_index"},
    {"cli"},
]
ONLY_IMPORTERS = {
    "onnxruntime": {"session", "product"},
    "tokenizers": {"tokenizer"},
    "usearch": {"ann"},
    "sqlite3": {"documents"},
    "filelock": {"lock"},
    "numkong": {"cpu"},
    "click": {"cli", "cli_common", "cli_index", "cli_measure"},
    "rich": {"cli_common"},
    "ir_measures": {"evaluation"},
    "matplotlib": {"plotting"},
    "huggingface_hub": {"model_files"},
}


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
    files = {path.stem: path for path in RUNTIME.glob("*.py")}
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
    allowed = {
        "pocket_colbert", "numpy", "onnxruntime", "tokenizers", "usearch", "numkong", "tqdm",
        "flatbuffers", "packaging", "google", "simsimd", "coloredlogs", "humanfriendly",
    }  # fmt: skip
    foreign = {
        m for m in modules if m not in sys.stdlib_module_names and not m.startswith("_")
    } - allowed
    assert not foreign
    for banned in ("torch", "transformers", "huggingface_hub", "click", "rich", "scipy", "onnx"):
        assert banned not in modules


def test_exported_members() -> None:
    exported = {
        name
        for name, value in vars(pocket_colbert).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("pocket_colbert")
    }
    assert exported | {"__version__"} == set(pocket_colbert.__all__)
    assert pocket_colbert.__all__ == sorted(pocket_colbert.__all__)


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
    from pocket_colbert.cli import main

    for line in "\n".join(readme_blocks("bash")).splitlines():
        words = line.split()
        if words and words[0] == "pocket-colbert":
            command = main.commands[words[1]]
            known = {option for item in command.params for option in item.opts}
            assert {w for w in words if w.startswith("--")} <= known, line


def test_runtime_files_stay_readable() -> None:
    for path in [*RUNTIME.glob("*.py"), *(ROOT / "export").rglob("*.py")]:
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
    for model in ("small", "tiny"):
        for name in (
            "model_int8.onnx",
            "tokenizer.json",
            "onnx_config.json",
            "NOTICE",
            "README.md",
        ):
            assert f"pocket_colbert/models/{model}/{name}" in names
    for name in ("pocket_colbert/py.typed", "pocket_colbert_export/data/probe.jsonl"):
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

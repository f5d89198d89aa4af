"""Integrations without their frameworks, and the scripts in examples/."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pocket_colbert import Document, Encoder, Hit, Index, InvalidInputError, Retriever
from pocket_colbert.integrations.common import combine_filters, search, search_parameters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {
    "langchain": ("langchain_core", "langchain"),
    "llama_index": ("llama_index", "llama-index"),
    "haystack": ("haystack", "haystack"),
    "mteb": ("mteb", "mteb"),
    "rerankers": ("rerankers", "rerankers"),
}
EXAMPLES = {
    "langchain_rag": ("langchain_core", "Bees swarm in May when the hive is full."),
    "llama_index_rag": ("llama_index", "Feed the bees sugar syrup in autumn."),
    "haystack_rag": ("haystack", "Bees swarm in May when the hive is full."),
    "rerankers_rank": ("rerankers", "Honey keeps for years in a closed jar."),
    "mteb_evaluate": ("mteb", "Bees test default 1.000"),
    "async_search": ("pocket_colbert", "-> Honey keeps for years in a closed jar."),
    "heat_map": ("pocket_colbert", "<HeatMap of 2 hits for 'When do bees swarm?'> in "),
}


def test_missing_frameworks_are_named() -> None:
    script = "import sys\nfrom pocket_colbert import OptionalDependencyError\n" + "".join(
        f"sys.modules[{package!r}] = None\n"
        f"try:\n    import pocket_colbert.integrations.{module}\n"
        "except OptionalDependencyError as error:\n    print(error)\n"
        for module, (package, _) in FRAMEWORKS.items()
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"pocket_colbert.integrations.{module} needs the {extra!r} extra: "
        f"pip install 'pocket-colbert[{extra}]'."
        for module, (_, extra) in FRAMEWORKS.items()
    ]


def test_every_example_is_run() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_offline(name: str, tmp_path: Path) -> None:
    package, expected = EXAMPLES[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    # A proxy that nobody listens at stands in for the network being away.
    away = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
        env={**os.environ, **away, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_filters_combine() -> None:
    assert combine_filters(None, None) is None
    assert combine_filters({"a": 1}, None) == combine_filters(None, {"a": 1}) == {"a": 1}
    assert combine_filters({"a": 1}, {"a": 2}) == {"$and": [{"a": 1}, {"a": 2}]}


def test_documents_without_text_are_their_titles_or_an_error(encoder: Encoder) -> None:
    parameters = search_parameters(2, None, None, None, 0)
    retriever = Retriever(encoder, Index(encoder.dim))
    retriever.add([Document("titled", title="Bread and butter")])
    for passages in (0, 1):
        (found,) = search(
            retriever, "bread", k=1, where=None, parameters=parameters, passages=passages
        )
        assert found.text == "Bread and butter" and found.document_id == "titled"
    index = Index(encoder.dim)
    index.add(["bare"], encoder.encode_document(["Bread"]))
    with pytest.raises(InvalidInputError, match="'bare' has no text to return"):
        search(Retriever(encoder, index), "x", k=1, where=None, parameters=parameters, passages=0)


def test_metadata_of_the_search_takes_precedence(encoder: Encoder) -> None:
    retriever = Retriever(encoder, Index(encoder.dim))
    own = {"title": "mine", "passages": 3, "start": "then", "document_id": 7}
    retriever.add([Document("a", "Bees.", "Theirs", own)])
    hit: Hit = retriever.retrieve(["bees"])[0][0]
    parameters = search_parameters(1, None, None, None, 1)
    (whole,) = search(retriever, "bees", k=1, where=None, parameters=parameters, passages=0)
    assert whole.span is None and whole.result_id == "a"
    assert whole.metadata == {
        **own, "document_id": "a", "relevance": hit.relevance,
        "passages": [{"start": 0, "end": 5, "score": hit.score}],
    }  # fmt: skip
    (part,) = search(retriever, "bees", k=1, where=None, parameters=parameters, passages=1)
    assert part.span == (0, 5) and part.result_id == "a:0-5"
    assert part.metadata == {
        "title": "mine", "passages": 3, "start": 0, "end": 5, "document_id": "a",
        "document_score": hit.score,
        "relevance": hit.relevance,
    }  # fmt: skip

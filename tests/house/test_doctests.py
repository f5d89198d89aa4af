"""The examples in docstrings run and print what they say; every public name has one."""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
from pathlib import Path

import pytest

import pocket_colbert
from pocket_colbert import Encoder
from pocket_colbert.model.encoder import Encoder as Loaded

NAMES = sorted(set(pocket_colbert.__all__) - {"__version__"})


def examples_of(name: str) -> list[doctest.DocTest]:
    """Return the examples in a name's docstring, and in those of its methods that have some."""
    value = getattr(pocket_colbert, name)
    module = importlib.import_module(value.__module__)
    found = doctest.DocTestFinder().find(value, name, module=module, globs={})
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def loaded() -> dict[str, Encoder]:
    """Encoders by what was asked for, each loaded once."""
    return {}


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(
    name: str, loaded: dict[str, Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Loaded.load

    @functools.wraps(load)
    def once(*given: object, **options: object) -> Encoder:
        asked = repr((given, sorted(options.items())))
        if not any(isinstance(item, Path) for item in given):
            if asked not in loaded:
                loaded[asked] = load(*given, **options)  # type: ignore[arg-type]
            return loaded[asked]
        return load(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Loaded, "load", once)
    tests = examples_of(name)
    assert tests and tests[0].name == name, "a public name has an example in its docstring"
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        printed: list[str] = []
        result = runner.run(test, out=printed.append)
        assert not result.failed, "".join(printed)


def test_an_example_that_is_wrong_is_noticed() -> None:
    parser = doctest.DocTestParser()
    test = parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None).failed == 1


def test_examples_stand_alone() -> None:
    """Each imports what it uses, so that it runs when it is copied."""
    for name in NAMES:
        first = examples_of(name)[0].examples[0].source
        assert first.startswith(("from ", "import ")), name
        assert inspect.getdoc(getattr(pocket_colbert, name)), name

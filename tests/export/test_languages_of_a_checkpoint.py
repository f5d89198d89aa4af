"""The languages that a checkpoint's card names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocket_colbert_export.checkpoints.raw import _read_languages, _read_license


@pytest.mark.parametrize(
    ("lines", "languages"),
    [
        ("language: en", ("en",)),
        ("language: [en, 'de']", ("en", "de")),
        ("language:\n- en\n  - pt-BR\ntags:\n- colbert", ("en", "pt-BR")),
        ("language: multilingual text", ()),
        ("tags:\n- en", ()),
    ],
)
def test_languages_are_read_from_the_front_matter(
    tmp_path: Path, lines: str, languages: tuple[str, ...]
) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"---\n{lines}\nlicense: MIT\n---\nlanguage: ru\n")
    assert _read_languages(card) == languages
    assert _read_license(card) == "MIT"


def test_without_a_card_nothing_is_known(tmp_path: Path) -> None:
    assert _read_languages(tmp_path / "README.md") == ()
    (tmp_path / "README.md").write_text("language: en\n")
    assert _read_languages(tmp_path / "README.md") == ()

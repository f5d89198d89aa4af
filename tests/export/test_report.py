"""The typed report: what it writes it reads back, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import InvalidInputError
from pocket_colbert_export.proof.report import ExportReport, Float16Report, Int8Report
from tests.support.paths import DATA

ROOT = Path(__file__).parents[2]
REPORTS = [ROOT / "models" / "small", ROOT / "models" / "tiny", DATA / "tiny-colbert"]


def content(folder: Path) -> Any:
    return json.loads((folder / "export_report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
def test_committed_reports_round_trip(folder: Path) -> None:
    report = ExportReport.from_json(content(folder))
    assert json.loads(json.dumps(report.to_json())) == content(folder)
    recipe = json.loads((folder / "onnx_config.json").read_text(encoding="utf-8"))
    section = recipe["pocket_colbert"]
    card = json.loads(json.dumps(report.card_json()))
    if not report.source.languages:  # the bundled models' were named after they were measured
        del card["languages"]
    assert {key: section[key] for key in card} == card


def test_a_float16_report_round_trips() -> None:
    int8 = Int8Report.from_json(content(REPORTS[0])["int8"])
    values = {
        "chosen": "float16", "recipe": {"float32": ["layer norms"]}, "gate": {"low_cosine": 0.5},
        "fidelity": content(REPORTS[0])["int8"]["fidelity"], "batch_max_abs_difference": 0.001,
        "batch_tolerance": 0.005, "failures": ["a", "b"], "forced": True,
    }  # fmt: skip
    report = Float16Report.from_json(values)
    assert report.fidelity == int8.fidelity and report.recipe.float32 == ("layer norms",)
    whole = content(REPORTS[0]) | {"precision": "fp16", "fp16": values}
    del whole["int8"]
    assert json.loads(json.dumps(ExportReport.from_json(whole).to_json())) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "MIT"}, r"ExportReport has unknown keys \['licence'\]"),
        ({"bytes": None}, r"ExportReport lacks the keys \['bytes'\]"),
        ({"precision": "int4"}, "precision must be 'int8', 'fp16' or 'fp32', got 'int4'"),
        ({"source": {"name": "a"}}, "Source lacks the keys"),
        ({"float": {"texts": 1}}, "FloatParity lacks the keys"),
    ],
)
def test_other_keys_are_refused(changes: dict[str, Any], message: str) -> None:
    values = content(REPORTS[1]) | changes
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(InvalidInputError, match=message):
        ExportReport.from_json(values)

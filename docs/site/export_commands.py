"""The exporter's commands without torch, which importing their package would need."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_FILE = Path(__file__).parents[2] / "export" / "pocket_colbert_export" / "cli.py"
_spec = spec_from_file_location("pocket_colbert_export_cli", _FILE)
assert _spec is not None and _spec.loader is not None
_module = module_from_spec(_spec)
_spec.loader.exec_module(_module)

main = _module.main

"""The table of models, as cards and documentation name it: see `benchmarks.studies.models`."""

from __future__ import annotations

from benchmarks.studies.models import main

if __name__ == "__main__":
    main()

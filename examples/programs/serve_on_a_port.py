"""How do I serve it on a port, with a page and an API?"""

from pocket_colbert import Collection
from pocket_colbert.cli.commands import main

with Collection("handbook.index") as handbook:
    handbook.add_files("handbook")
main(["serve", "handbook.index", "--port", "8000"])  # as the command pocket-colbert does

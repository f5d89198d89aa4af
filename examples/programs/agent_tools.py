"""How does my agent search? (For agents of their own: pocket-colbert mcp.)"""

from pocket_colbert import Collection
from pocket_colbert.mcp_server.tools import Tools

(handbook := Collection("handbook.index")).add_files("handbook")
tools = Tools(handbook.retriever)  # their arguments and answers are plain texts
print(tools.search("who mends the roof?", k=1), tools.read("pets.md"), sep="\n---\n")

# >

# -> house.md:9 (document house.md), character 112
# -> House rules > Roof and windows
# -> The landlord repairs the roof. Tenants report a leak within two days.
# -> ---
# -> Pets
# ->
# -> Dogs and cats need the landlord's consent. Fish do not.

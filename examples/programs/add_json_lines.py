"""How do I add a file of JSON lines that is larger than memory?"""

import json
from pocket_colbert import Collection

with open("articles.jsonl", encoding="utf-8") as lines:
    added = (articles := Collection("articles.index")).add(map(json.loads, lines))
print(added, articles.get(2).metadata)

# -> 5 {'year': 2021, 'tags': ['money', 'house']}

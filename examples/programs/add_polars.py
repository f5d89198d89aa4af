"""How do I add a frame of polars, also one that is not read yet?"""

import polars as pl
from pocket_colbert import Collection

articles = Collection("articles.index")
articles.add(pl.scan_csv("articles.csv"), id="number", text="body")
print(articles.get(5).title)

# -> Bees

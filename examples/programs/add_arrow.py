"""How do I add a table of Arrow, or one column of it?"""

from pyarrow import csv
from pocket_colbert import Collection

table, articles = csv.read_csv("articles.csv"), Collection("articles.index")
articles.add(table["body"], ids=table["number"], titles=table["title"])
print(articles.search("when do I pay?", k=1).ids)

# -> ['2']

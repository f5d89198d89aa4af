"""How do I add a DataFrame of pandas, and name its columns?"""

import pandas as pd
from pocket_colbert import Collection

articles = Collection("articles.index")
articles.add(pd.read_csv("articles.csv"), id="number", text="body")
print(articles.search("who mends the roof?", k=1)[0].metadata)

# -> {'year': 2019, 'topic': 'repairs', 'published': '2019-03-01'}

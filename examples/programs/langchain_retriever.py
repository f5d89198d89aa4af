"""How do I use it in LangChain?"""

from pocket_colbert.integrations.langchain_store import PocketColbertVectorStore

texts = ["The landlord repairs the roof.", "Rent is due on the first."]
store = PocketColbertVectorStore.from_texts(texts, ids=["roof", "rent"])
for document in store.as_retriever(search_kwargs={"k": 1}).invoke("who mends the roof?"):
    print(document.id, document.page_content)

# -> roof The landlord repairs the roof.

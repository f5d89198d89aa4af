"""How do I search in asyncio without blocking the loop?"""

import asyncio
from pocket_colbert import Collection


async def main(notes: Collection) -> None:
    print(
        await notes.aadd("Rent is due on the first."),
        (await notes.asearch("when do I pay?"))[0].text,
    )


asyncio.run(main(Collection("notes.index")))

# -> 1 Rent is due on the first.

"""Search for agents: an index as a server of the Model Context Protocol."""

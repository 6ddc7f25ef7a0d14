"""The networks: MODELS, the table of all of them, and one file an architecture."""

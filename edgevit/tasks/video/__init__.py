"""The class of a clip."""

"""The version of edgevit, which bundles name."""

__version__ = "0.1.0"

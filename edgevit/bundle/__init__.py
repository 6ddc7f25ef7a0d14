"""Bundles: sealed by `edgevit export`, opened, verified and described. Needs no torch."""

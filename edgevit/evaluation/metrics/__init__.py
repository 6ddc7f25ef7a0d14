"""Metrics that count while data streams: with labels, or agreement without."""

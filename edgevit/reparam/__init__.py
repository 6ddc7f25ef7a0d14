"""Exact rewrites of a network, each proven in float64, in the order that line.py gives them."""

"""One literal table an architecture; zoo.py joins them."""

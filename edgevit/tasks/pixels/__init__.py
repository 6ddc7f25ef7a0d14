"""Pixels in numpy alone: resizing, warping, and the exact mask."""

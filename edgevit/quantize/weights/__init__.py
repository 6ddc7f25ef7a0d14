"""What edits.py runs: where a scale is free, which one is best, and what rounding does."""

"""Tasks: one folder each, with preprocessing, decoding, drawing and metric."""

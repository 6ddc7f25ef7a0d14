"""What a network is for: one module a task, with preprocessing, decoding, drawing and metric."""

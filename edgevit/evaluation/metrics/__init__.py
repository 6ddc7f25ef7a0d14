"""What is counted of answers while data streams: metrics with labels, agreement without."""

"""Post-training quantization: what is decided in torch, before any exporter sees a network."""

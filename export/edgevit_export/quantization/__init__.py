"""Where a network's numbers become integers: one graph of quantize and dequantize steps that every
exporter reads.
"""

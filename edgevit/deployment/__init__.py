"""From a request to a sealed bundle: `export`, `quantize --sensitivity` and `quantize --qat`."""

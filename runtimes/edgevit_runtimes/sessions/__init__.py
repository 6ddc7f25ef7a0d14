"""One file a runtime, each with `load_runtime()` and `open_(path, threads)`."""

"""Opens exported files, runs them and times them, here or on a device; knows nothing of edgevit."""

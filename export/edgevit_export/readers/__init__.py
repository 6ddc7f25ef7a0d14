"""Say what an exported file holds without running it: one `read(path) -> FileReport` a format."""

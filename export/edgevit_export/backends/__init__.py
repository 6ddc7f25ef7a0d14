"""One file a format that writes it: `write(model, example, names, scheme, path) -> Artifact`."""

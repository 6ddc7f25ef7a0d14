"""One file an official project: how its checkpoints name things."""

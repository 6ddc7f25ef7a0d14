"""Checkpoints: a reader that runs nothing in the file, and a loader that takes no key on trust."""

from edgevit.checkpoints.reader import Checkpoint, read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, WrongShape, load_strict

__all__ = ["Checkpoint", "CheckpointMismatch", "WrongShape", "load_strict", "read_checkpoint"]

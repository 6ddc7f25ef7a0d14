"""Guesses against torch and by hand."""

import json

import numpy as np
import pytest
import torch

from edgevit.errors import UsageError
from edgevit.tasks.classification.guesses import softmax, top_guesses


def test_softmax_is_torchs() -> None:
    logits = np.random.default_rng(0).normal(0, 20, (5, 11)).astype(np.float32)
    want = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    assert np.abs(softmax(logits) - want).max() < 1e-12
    assert softmax(np.array([1e30, -1e30], np.float32)).tolist() == [1.0, 0.0]


def test_the_best_come_first() -> None:
    names = ("a", "b", "c", "d")
    logits = np.log(np.array([[0.1, 0.4, 0.2, 0.3]], np.float32))
    found = top_guesses(logits, names, 3)
    assert [(g.index, g.name) for g in found] == [(1, "b"), (3, "d"), (2, "c")]
    assert [g.probability for g in found] == pytest.approx([0.4, 0.3, 0.2])
    row = json.loads(json.dumps(found[0].to_json()))
    assert row == {"class": 1, "name": "b", "probability": pytest.approx(0.4, abs=1e-6)}


def test_of_equals_the_first_named() -> None:
    found = top_guesses(np.zeros(3, np.float32), ("a", "b", "c"), 5)
    assert [g.name for g in found] == ["a", "b", "c"]


def test_logits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="2 classes"):
        top_guesses(np.zeros((1, 3), np.float32), ("a", "b"))
    with pytest.raises(UsageError, match="At least one"):
        top_guesses(np.zeros(2, np.float32), ("a", "b"), 0)

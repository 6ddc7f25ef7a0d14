"""Fine-tuning with rounding inside, on networks whose best answer is known."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from edgevit.errors import UsageError
from edgevit.quantize.calibration import Calibration
from edgevit.quantize.training import (
    FEWEST,
    HELD_OUT,
    Training,
    distill,
    outputs_of,
)

SHAPE = (1, 3, 4, 4)


def samples(count=FEWEST):
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(SHAPE, dtype=np.float32) for _ in range(count)]
    return Calibration("noise", ("0" * 64,) * count, (), lambda: iter(arrays), None)


class Wrong(nn.Module):
    """A layer that is off by one number, which training has to find."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        return x.mean(dim=(2, 3)) * self.gain


def trained(student, teacher, training, count=FEWEST, progress=lambda *_: None):
    parameters = dict(student.named_parameters())
    given = (outputs_of(student), parameters, outputs_of(teacher), samples(count))
    return distill(*given, training, progress)


def held_loss(student, teacher):
    """The mean relative squared error of what `distill` holds out."""
    found = []
    for x in islice(samples(), HELD_OUT):
        want, got = teacher(x), student(x)
        found.append(float((got - want).square().mean() / want.square().mean()))
    return sum(found) / len(found)


def test_training_finds_the_teachers_answers():
    student, teacher = Wrong(1.5), Wrong(1.0)
    told = []
    found = trained(
        student,
        teacher,
        Training(steps=60, rate=0.05),
        progress=lambda step, loss: told.append((step, loss)),
    )
    assert abs(float(student.gain.detach()) - 1) < 0.1
    assert found.after < 0.1 * found.before
    assert 1 <= found.step <= 60
    assert [step for step, _ in told] == list(range(1, 61))
    assert told[-1][1] == pytest.approx(found.after)


def test_the_weights_end_where_they_were_best():
    """A rate that overshoots makes nothing better, and must leave no trace."""
    student, teacher = Wrong(1.0), Wrong(1.0)
    found = trained(student, teacher, Training(steps=3, rate=0.9))
    assert found.step == 0
    assert found.before == found.after == pytest.approx(0.0, abs=1e-9)
    assert float(student.gain.detach()) == 1.0


def test_the_loss_told_is_that_of_the_state_that_is_left():
    student, teacher = Wrong(1.5), Wrong(1.0)
    found = trained(student, teacher, Training(steps=10, rate=0.05))
    with torch.no_grad():
        assert held_loss(student, teacher) == pytest.approx(found.after, rel=1e-4)


def test_the_same_seed_trains_the_same_weights():
    ends = []
    for seed in (1, 1, 2):
        student = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
        with torch.no_grad():
            for value in student.parameters():
                value.fill_(0.1)
        distill(
            outputs_of(student),
            dict(student.named_parameters()),
            lambda x: (x[:, :2, 1:3, 1:3].flatten(1),),
            samples(),
            Training(steps=4, rate=0.01, batch=2, seed=seed),
        )
        ends.append(student[0].weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])  # other inputs are mirrored


@pytest.mark.parametrize("count", [1, FEWEST - 1])
def test_too_few_samples_are_refused(count):
    student = Wrong(1.0)
    with pytest.raises(UsageError, match=f"{FEWEST} samples or more, not {count}"):
        trained(student, student, Training(0.01), count)


def test_training_that_diverges_is_refused():
    student = Wrong(float("nan"))
    with pytest.raises(UsageError, match="not finite"):
        trained(student, Wrong(1.0), Training(0.01, steps=1))


@pytest.mark.parametrize("change", [{"steps": 0}, {"steps": 10**9}, {"rate": 0.0}, {"rate": 2.0}])
def test_what_no_training_can_be_is_refused(change):
    with pytest.raises(UsageError, match=r"--steps takes|--learning-rate lies"):
        Training(**{"rate": 0.1, **change})

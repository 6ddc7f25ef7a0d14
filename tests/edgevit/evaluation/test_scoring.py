"""The pass over the data: scores, batches, and an interruption that costs nothing."""

import hashlib
import json

import numpy as np
import pytest

from edgevit.errors import CheckFailed, PictureError, UsageError
from edgevit.evaluation.data.samples import DataSet, Sample, tensors
from edgevit.evaluation.resume import Resume
from edgevit.evaluation.scoring import REFERENCE, measure
from edgevit.evaluation.subject import inputs_of

COUNT = 11


def photo(index):
    """Of one color each, in turn; a little of the others."""
    values = np.full((6, 7, 3), 40 + index, np.uint8)
    values[..., index % 3] = 200
    return values


def data(labeled=True, harm=None, opened=None):
    """Photos whose label is their color, but of every fourth the next one."""

    def open_sample(index):
        if opened is not None:
            opened.append(index)
        if harm is not None:
            harm(index)
        label = (index + (index % 4 == 0)) % 3
        mask = np.full((6, 7), label, np.int32)
        return Sample(str(index), (photo(index),), label, mask, boxes=((0.0, 0.0, 7.0, 6.0),))

    metric = "top-1" if labeled else None
    return DataSet(lambda n: f"colors {n}", "id", metric, COUNT, open_sample)


def never_blue(tensor):
    found = tensor.reshape(*tensor.shape[:2], -1).mean(axis=2)
    found[:, 2] = 0
    return [found]


RIGHT = sum(1 for i in range(COUNT) if i % 4) / COUNT
# The blue ones are indices 2, 5 and 8, of which 8 is labeled red: red is then the first of equals,
# green having as much of 40 + index as red.
NEVER_BLUE = sum(1 for i in range(COUNT) if i % 4 and i % 3 != 2) / COUNT + 1 / COUNT


def test_every_candidate_is_scored_against_the_truth(subjects, colors):
    found = measure(
        subjects["classification"], data(), {"a": colors, "b": never_blue}, colors, batch=4
    )
    assert set(found) == {"a", "b"}
    assert found["a"].accuracy.value == pytest.approx(RIGHT)
    assert found["b"].accuracy.value == pytest.approx(NEVER_BLUE)
    for one in found.values():
        assert one.accuracy.reference == pytest.approx(RIGHT)
        assert (one.accuracy.samples, one.accuracy.data) == (COUNT, f"colors {COUNT}")
        assert one.accuracy.labeled
        assert one.accuracy.metric == "top-1"


def test_without_a_reference_the_candidates_are_scored_alone(subjects, colors):
    found = measure(subjects["classification"], data(), {"a": colors}, None)
    assert found["a"].accuracy.reference is None
    assert found["a"].accuracy.value == pytest.approx(RIGHT)


def test_without_labels_agreement_is_measured(subjects, colors):
    found = measure(subjects["classification"], data(False), {"b": never_blue}, colors)
    assert found["b"].accuracy.metric == "top-1 agreement"
    assert found["b"].accuracy.value == pytest.approx(8 / COUNT)  # all but the three blue ones
    assert found["b"].accuracy.reference is None
    assert not found["b"].accuracy.labeled
    with pytest.raises(UsageError, match="no labels, and there is no fp32"):
        measure(subjects["classification"], data(False), {"b": never_blue}, None)


def test_features_tell_the_worst_picture(subjects):
    noise = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    found = measure(
        subjects["features"],
        data(False),
        {"same": lambda t: [t], "noisy": lambda t: [t + noise]},
        lambda t: [t],
    )
    assert found["same"].accuracy.value == pytest.approx(1.0)
    assert found["noisy"].worst < found["noisy"].accuracy.value < 1


def test_inputs_that_are_made_already_agree(subjects, colors):
    subject = subjects["classification"]
    made = [inputs_of(subject, sample)[0] for sample in data()]
    found = measure(subject, tensors(made), {"b": never_blue}, colors)
    assert found["b"].accuracy.value == pytest.approx(8 / COUNT)


def test_what_a_calibration_saw_is_left_out_of_agreement(tmp_path, subjects, colors):
    subject, notes = subjects["classification"], []
    inputs = [inputs_of(subject, sample)[0].tensor for sample in data()]
    # Two of the three blue ones, on which the candidate is wrong, and another one.
    used = {hashlib.sha256(inputs[i].tobytes()).hexdigest() for i in (2, 3, 5)}
    runs = {"b": never_blue}

    def agreement(harm=None):
        return measure(
            subject,
            data(False, harm),
            runs,
            colors,
            batch=4,
            note=notes.append,
            calibrated=used,
            resume=Resume(tmp_path / "state.json", str(len(used))),
        )["b"].accuracy

    found = agreement()
    assert found.value == pytest.approx(7 / 8)
    assert found.samples == COUNT - 3
    assert notes == ["Left out 3 pictures that were used for calibration."]
    with pytest.raises(KeyboardInterrupt):
        agreement(Stop(9))
    assert agreement() == found
    scored = measure(subject, data(), runs, colors, calibrated=used)["b"].accuracy
    assert scored.samples == COUNT  # with labels nothing is left out
    used |= {hashlib.sha256(tensor.tobytes()).hexdigest() for tensor in inputs}
    with pytest.raises(UsageError, match="nothing to measure"):
        agreement()


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
def test_samples_stream_in_batches(batch, subjects, colors):
    seen, sizes, told = [], [], []

    def reference(tensor):
        sizes.append(len(tensor))
        return colors(tensor)

    found = measure(
        subjects["classification"],
        data(opened=seen),
        {"a": colors},
        reference,
        batch=batch,
        progress=lambda *step: told.append(step),
    )
    assert seen == list(range(COUNT))
    assert sum(sizes) == COUNT
    assert max(sizes) == min(batch, COUNT)
    assert found["a"].accuracy.value == pytest.approx(RIGHT)
    assert told[0] == (REFERENCE, 0, COUNT)
    assert told[-1] == ("done", COUNT, COUNT)
    assert [step[1] for step in told] == sorted(step[1] for step in told)


@pytest.mark.parametrize("batch", [-1, 0, 1025])
def test_a_batch_out_of_bounds_is_refused(batch, subjects, colors):
    with pytest.raises(UsageError, match=f"--batch takes a number from 1 to 1024, not {batch}"):
        measure(subjects["classification"], data(), {"a": colors}, colors, batch=batch)


def test_data_that_says_nothing_is_refused(subjects):
    def unknown(index):
        return Sample("x", (photo(0),), mask=np.full((6, 7), -1, np.int32))

    blank = DataSet(lambda _: "blank", "id", "mIoU", 2, unknown)
    candidate = {"a": lambda t: [t]}
    with pytest.raises(UsageError, match="blank has nothing to measure"):
        measure(subjects["segmentation"], blank, candidate, None)


class Stop:
    """Ctrl-C when a sample is opened."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.at, self.error = at, error

    def __call__(self, index):
        if index == self.at:
            raise self.error("stop")


@pytest.mark.parametrize("task", ["classification", "segmentation", "agreement"])
@pytest.mark.parametrize("at", [0, 1, 5, 10])
def test_an_interrupted_pass_ends_as_an_uninterrupted_one(task, at, tmp_path, subjects, colors):
    subject = subjects["segmentation" if task == "segmentation" else "classification"]
    runs = {"a": colors, "b": never_blue}
    if task == "segmentation":
        runs = {"a": lambda t: [t], "b": lambda t: [t[:, :, ::-1] * 0.5]}

    def made(harm=None, opened=None):
        held = data(task != "agreement", harm, opened)
        return held if task != "segmentation" else _with_metric(held, "mIoU")

    reference = runs["a"]
    whole = measure(subject, made(), runs, reference, batch=2)
    path, notes = tmp_path / "state.json", []
    with pytest.raises(KeyboardInterrupt):
        measure(
            subject,
            made(Stop(at)),
            runs,
            reference,
            batch=2,
            resume=Resume(path, "key"),
            note=notes.append,
        )
    done = at // 2 * 2
    assert path.exists() == (done > 0)
    if done:
        assert f"Saved the counts of {done} of {COUNT}" in notes[-1]
    seen = []
    found = measure(
        subject,
        made(opened=seen),
        runs,
        reference,
        batch=2,
        resume=Resume(path, "key"),
        note=notes.append,
    )
    assert seen == list(range(done, COUNT))
    assert found == whole
    if done:
        assert f"Resuming after {done} of {COUNT}" in notes[-1]


def _with_metric(held, metric):
    from dataclasses import replace

    return replace(held, metric=metric)


def damaged(change):
    def harm(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return harm


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: path.write_bytes(b"\xff{"), "damaged"),
        (lambda path: path.write_text("[]"), "damaged"),
        (damaged(lambda c: c.update(key="other")), "another evaluation"),
        (damaged(lambda c: c.update(version=99)), "another evaluation"),
        (damaged(lambda c: c.update(done=99)), "damaged"),
        (damaged(lambda c: c.update(done="4")), "damaged"),
        (damaged(lambda c: c["states"].pop("b")), "damaged"),
        (damaged(lambda c: c["states"].update(b=7)), "damaged"),
        (damaged(lambda c: c["states"]["b"].update(hits=99)), "damaged"),
        (damaged(lambda c: c["states"]["b"].update(hits=float("nan"))), "damaged"),
    ],
)
def test_a_damaged_state_is_told_and_not_used(harm, why, tmp_path, subjects, colors):
    path, runs = tmp_path / "state.json", {"a": colors, "b": never_blue}
    subject = subjects["classification"]
    whole = measure(subject, data(), runs, colors, batch=2)
    with pytest.raises(KeyboardInterrupt):
        measure(subject, data(harm=Stop(6)), runs, colors, batch=2, resume=Resume(path, "key"))
    harm(path)
    notes, seen = [], []
    found = measure(
        subject,
        data(opened=seen),
        runs,
        colors,
        batch=2,
        resume=Resume(path, "key"),
        note=notes.append,
    )
    assert notes == [notes[0]]
    assert why in notes[0]
    assert notes[0].endswith("starting again.")
    assert seen == list(range(COUNT))
    assert found == whole


@pytest.mark.parametrize(
    ("error", "kept"), [(PictureError, False), (CheckFailed, True), (OSError, True)]
)
def test_what_is_wrong_with_the_data_keeps_no_state(error, kept, tmp_path, subjects, colors):
    path = tmp_path / "state.json"
    with pytest.raises(error):
        measure(
            subjects["classification"],
            data(harm=Stop(6, error)),
            {"a": colors},
            colors,
            batch=2,
            resume=Resume(path, "key"),
        )
    assert path.exists() == kept


def test_a_state_is_kept_on_the_way(tmp_path, subjects, colors, monkeypatch):
    from edgevit.evaluation import resume

    monkeypatch.setattr(resume, "SAVE_SECS", 0.0)
    path, found = tmp_path / "state.json", []

    def look(index):
        if path.exists():
            found.append(json.loads(path.read_text())["done"])

    measure(
        subjects["classification"],
        data(harm=look),
        {"a": colors},
        colors,
        batch=3,
        resume=Resume(path, "key"),
    )
    assert found == [3] * 3 + [6] * 3 + [9] * 2

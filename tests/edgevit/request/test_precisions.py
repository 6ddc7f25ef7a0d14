"""What a precision word asks for in every format."""

import pytest

from edgevit.evaluation.gates import GATES
from edgevit.networks.zoo import SYSTEMS
from edgevit.request.precisions import (
    CANDIDATES,
    INT8,
    LEAST_AGREEMENT,
    LEAST_SQNR,
    SPREAD,
    candidates,
    near_enough,
    why_not,
)
from edgevit_export.formats import FORMATS
from edgevit_export.scheme import OBSERVERS, PRECISIONS


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("word", CANDIDATES)
def test_a_format_has_a_file_of_a_precision_or_a_reason(word, format_):
    found = candidates(word, format_)
    assert set(found) <= set(FORMATS[format_].precisions)
    if not found:
        assert len(why_not(word, format_)) > 10


@pytest.mark.parametrize("format_", FORMATS)
def test_int8_is_something_in_every_format_but_never_fewer_bits(format_):
    found = candidates(INT8, format_)
    assert found or not set(CANDIDATES[INT8]) & set(FORMATS[format_].precisions)
    assert all(PRECISIONS[name].weight_bits == 8 for name in found)


def test_every_precision_but_fp32_has_a_gate():
    assert set(GATES) == set(PRECISIONS) - {"fp32"}
    assert set(CANDIDATES) == {*PRECISIONS, INT8}
    assert set(LEAST_SQNR) <= set(PRECISIONS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_near_enough_is_more_than_the_least(precision):
    least = LEAST_SQNR.get(precision)
    assert near_enough(precision, 100.0)
    assert near_enough(precision, 1.0) == (least is None)
    if least is not None:
        assert not near_enough(precision, least + SPREAD - 0.1)
        assert near_enough(precision, least + SPREAD)


@pytest.mark.parametrize("precision", LEAST_SQNR)
def test_what_was_not_measured_is_not_near(precision):
    assert not near_enough(precision, None)
    assert not near_enough(precision, float("nan"))
    assert near_enough(precision, None, LEAST_AGREEMENT)
    assert not near_enough(precision, None, LEAST_AGREEMENT - 0.01)
    assert not near_enough(precision, 3.0, 1.0)


def test_a_system_serves_static_int8_and_what_it_names():
    static = {name for name, one in PRECISIONS.items() if one.activations == "static"}
    for system in SYSTEMS.values():
        own = system.load().integers
        assert set(own.also) <= set(PRECISIONS) - static
        assert {name for name in PRECISIONS if own.serves(name)} == {*static, *own.also}
        assert own.observer in OBSERVERS
        assert all(entry.pattern and entry.reason for entry in own.floats)

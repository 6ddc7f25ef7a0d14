"""What a precision word asks for in every format."""

import pytest

from edgevit.architectures import ARCHITECTURES
from edgevit.evaluation.gates import GATES
from edgevit.quantize.precision import CANDIDATES, INT8, LEAST_SQNR, candidates, why_not
from edgevit.quantize.recipes import RECIPES
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


def test_every_precision_but_the_floats_has_a_gate():
    assert set(GATES) == set(PRECISIONS) - {"fp32", "fp16"}
    assert set(CANDIDATES) == {*PRECISIONS, INT8}
    assert set(LEAST_SQNR) <= set(PRECISIONS)


def test_every_architecture_has_a_recipe():
    assert set(RECIPES) == set(ARCHITECTURES)
    for recipe in RECIPES.values():
        assert recipe.observer in OBSERVERS
        assert all(entry.pattern and entry.reason for entry in recipe.floats)

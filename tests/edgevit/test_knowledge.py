"""What `list` and `info` tell."""

import json

import pytest

from edgevit.errors import UsageError
from edgevit.knowledge import model_facts, model_lines, model_rows
from edgevit.models.zoo import MODELS, model_card
from edgevit.tasks.recipes import RECIPES
from edgevit_export.formats import FORMATS


@pytest.mark.parametrize("name", MODELS)
def test_facts_are_the_cards(name):
    facts, card = model_facts(name), model_card(name)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["params"] == card.params
    assert facts["gmacs"] == card.gmacs
    assert facts["classes"] == card.num_classes
    assert facts["input_size"] == list(card.input_size)
    assert list(facts["precisions"]) == list(FORMATS)
    assert len(facts["published"]) == len(card.published)
    lines = model_lines(facts)
    labels = list(dict.fromkeys(label for label, _ in lines))
    assert labels == [key.replace("_", " ") for key in facts], "a fact may take several lines"
    assert all(isinstance(text, str) and text for _, text in lines)


def test_the_preprocessing_and_its_source_are_told():
    told = model_facts("t2t-vit-7")["preprocessing"]
    assert told == {"t2t": [RECIPES["t2t"].source]}
    lines = model_lines(model_facts("t2t-vit-7"))
    assert ["preprocessing", f"t2t: {RECIPES['t2t'].source}"] in lines


def test_rows_are_filtered_by_name_and_task():
    assert [row[0] for row in model_rows("", None)] == list(MODELS)
    found = [row[0] for row in model_rows("-s", "segmentation")]
    assert found == ["topformer-s", "vit-adapter-s-upernet"]
    assert {row[1] for row in model_rows("", "video")} == {"video"}
    assert model_rows("resnet", None) == []
    assert {len(row) for row in model_rows("", None)} == {7}


def test_no_row_shows_a_zero():
    for row in model_rows("", None):
        assert row[3] not in ("0.00 M", "")
        assert float(row[4]) > 0


def test_only_models_with_demo_weights_show_some():
    shown = {row[0]: row[6] for row in model_rows("", None)}
    assert shown["topformer-t"].startswith("mIoU 0.")
    assert shown["topformer-b"] == "-"
    assert model_facts("topformer-b")["demo_weights"] is None


def test_an_unknown_model():
    with pytest.raises(UsageError, match="There is no model 'x'"):
        model_facts("x")

"""MODELS: every network edgevit builds, joined from one literal table an architecture. No torch."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from edgevit.errors import UsageError
from edgevit.models.card import ModelCard
from edgevit.models.cards import topformer

MODELS: Mapping[str, ModelCard] = MappingProxyType({card.name: card for card in topformer.CARDS})


def list_models() -> tuple[str, ...]:
    """Every name that `create_model` takes."""
    return tuple(MODELS)


def model_card(name: str) -> ModelCard:
    """What is known about this model; raises `UsageError` that names the nearest ones."""
    try:
        return MODELS[name]
    except KeyError:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), MODELS, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise UsageError(f"There is no model {name!r}{hint}", next="edgevit list") from None

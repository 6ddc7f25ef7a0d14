"""MODELS: every network edgevit builds, joined from one literal table an architecture. No torch."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from edgevit.errors import UsageError
from edgevit.models.card import ModelCard
from edgevit.models.cards import mvitv2, t2t_vit, topformer, vit, vit_adapter, vitpose

MODELS: Mapping[str, ModelCard] = MappingProxyType(
    {
        card.name: card
        for table in (topformer, vit, vitpose, t2t_vit, mvitv2, vit_adapter)
        for card in table.CARDS
    }
)


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

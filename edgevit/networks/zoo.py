"""SYSTEMS: every family of networks, a line each, and the tables joined from them. No torch."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from edgevit.errors import UsageError
from edgevit.networks import mvitv2, t2t_vit, topformer, vit, vit_adapter, vitpose
from edgevit.networks.card import ModelCard
from edgevit.networks.preparation import SHARED, Preparation
from edgevit.networks.system import Shapes, System
from edgevit.tasks.preprocessing import Fit, Preprocessing

# In the order of `edgevit list`. A later one's checkpoints may hold an earlier one's keys: a ViT's
# are also those inside of a ViTPose's and a ViT-Adapter's.
SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        system.name: system
        for system in (
            topformer.SYSTEM,
            vit.SYSTEM,
            vitpose.SYSTEM,
            t2t_vit.SYSTEM,
            mvitv2.SYSTEM,
            vit_adapter.SYSTEM,
        )
    }
)
MODELS: Mapping[str, ModelCard] = MappingProxyType(
    {card.name: card for system in SYSTEMS.values() for card in system.cards}
)
PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {**{k: v for system in SYSTEMS.values() for k, v in system.preparations.items()}, **SHARED}
)


def list_models() -> tuple[str, ...]:
    """Every name that `create_model` takes."""
    return tuple(MODELS)


def model_card(name: str) -> ModelCard:
    """The card of a model; raises `UsageError` that names the nearest models."""
    try:
        return MODELS[name]
    except KeyError:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), MODELS, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise UsageError(f"There is no model {name!r}{hint}", next="edgevit list") from None


def system_of(card: ModelCard) -> System:
    """The system of a card."""
    return SYSTEMS[card.architecture]


def recognize(shapes: Shapes) -> str | None:
    """The model of any system whose checkpoint has these shapes, or None."""
    for system in reversed(tuple(SYSTEMS.values())):
        found: str | None = system.load().checkpoint.recognize(shapes)
        if found is not None:
            return found
    return None


def preparation_named(name: str) -> Preparation:
    """The preparation of this name; raises `UsageError` that names the nearest."""
    if name not in PREPARATIONS:
        near = difflib.get_close_matches(name, PREPARATIONS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(PREPARATIONS)}."
        raise UsageError(
            f"There is no preprocessing {name!r}{hint}", next="edgevit export MODEL --help"
        )
    return PREPARATIONS[name]


def preprocessing_of(
    name: str, input_size: tuple[int, ...], fit: Fit | None = None
) -> Preprocessing:
    """The preparation of this name for an input of [frames,] height and width.

    fit replaces its own. Raises `UsageError` on an unknown name, and as `Preparation.preprocessing`
    does.
    """
    return preparation_named(name).preprocessing(name, input_size, fit)

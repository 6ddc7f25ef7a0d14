"""What is known about a model, as rows and as plain data. Loads no torch."""

from edgevit.models.zoo import MODELS, model_card
from edgevit.spec import AVAILABLE
from edgevit.weights import demo_weights
from edgevit_export.formats import FORMATS


def model_facts(name: str) -> dict[str, object]:
    """Everything `edgevit info` tells; raises `UsageError` on an unknown name."""
    card = model_card(name)
    demo = demo_weights(name)
    return {
        "model": card.name,
        "architecture": card.architecture,
        "task": card.task,
        "input_size": list(card.input_size),
        "size_multiple": card.size_multiple,
        "classes": card.num_classes,
        "outputs": list(card.outputs),
        "params": card.params,
        "gmacs": card.gmacs,
        "license": card.license,
        "published": [
            {"metric": p.metric, "value": p.value, "source": p.source} for p in card.published
        ],
        "precisions": {
            f.name: [p for p in f.precisions if p in AVAILABLE] for f in FORMATS.values()
        },
        "demo_weights": demo.card if demo else None,
    }


def model_rows(part: str, task: str | None) -> list[list[str]]:
    """A row a model whose name holds `part`."""
    rows = []
    for card in MODELS.values():
        if part not in card.name or (task and card.task != task):
            continue
        best = card.published[-1] if card.published else None
        demo = demo_weights(card.name)
        rows.append(
            [
                card.name,
                card.task,
                "x".join(map(str, card.input_size)),
                f"{card.params / 1e6:.2f} M",
                f"{card.gmacs:.3f}",
                f"{best.value} {best.metric}" if best else "-",
                f"mIoU {demo.card['miou']:.3f} on drawn scenes" if demo else "-",
            ]
        )
    return rows


def model_lines(facts: dict[str, object]) -> list[list[str]]:
    """The facts as name and text."""
    return [[name.replace("_", " "), _text(value)] for name, value in facts.items()]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return "-" if value is None else str(value)

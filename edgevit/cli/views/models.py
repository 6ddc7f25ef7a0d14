"""The facts of a model, as rows and as plain data. Loads no torch."""

from edgevit.networks.card import ModelCard
from edgevit.networks.zoo import MODELS, PREPARATIONS, model_card
from edgevit.weights import demo_weights, score_text
from edgevit_export.formats import FORMATS, most_bits, why_absent
from edgevit_export.scheme import PRECISIONS

COLUMNS = (
    "model",
    "task",
    "input",
    "params",
    "GMACs",
    "published",
    "source",
    "formats",
    "demo weights",
)

PRECISION_COLUMNS = ("precision", *FORMATS, "meaning")


def precision_facts() -> list[dict[str, object]]:
    """Every precision: its meaning, and for each format whether it has it, or why not."""
    return [
        {
            "precision": name,
            "meaning": precision.meaning,
            "formats": {
                entry.name: True if name in entry.precisions else why_absent(entry, name)
                for entry in FORMATS.values()
            },
        }
        for name, precision in PRECISIONS.items()
    ]


def precision_rows() -> list[list[str]]:
    """A row of `PRECISION_COLUMNS` a precision."""
    rows = []
    for name, precision in PRECISIONS.items():
        cells = [
            "yes" if name in entry.precisions else f"no: {why_absent(entry, name)}"
            for entry in FORMATS.values()
        ]
        rows.append([name, *cells, precision.meaning])
    return rows


def model_facts(name: str) -> dict[str, object]:
    """Everything that `edgevit info` shows; raises `UsageError` on an unknown name."""
    card = model_card(name)
    demo = demo_weights(name)
    precisions = _precisions(card)
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
        "preprocessing": {card.preparation: [PREPARATIONS[card.preparation].source]},
        "published": [
            {"metric": p.metric, "value": p.value, "source": p.source} for p in card.published
        ],
        "formats": [name for name, held in precisions.items() if held],
        "precisions": precisions,
        "demo_weights": demo.card if demo else None,
    }


def model_rows(part: str, task: str | None) -> list[list[str]]:
    """A row of `COLUMNS` a model whose name holds `part`."""
    rows = []
    for card in MODELS.values():
        if part not in card.name or (task and card.task != task):
            continue
        first = card.published[0] if card.published else None
        demo = demo_weights(card.name)
        rows.append(
            [
                card.name,
                card.task,
                "x".join(map(str, card.input_size)),
                f"{card.params / 1e6:.2f} M",
                f"{card.gmacs:.3f}",
                f"{first.value} {first.metric}" if first else "-",
                first.source if first else "-",
                ", ".join(name for name, held in _precisions(card).items() if held),
                f"{score_text(demo.card)} on drawn scenes" if demo else "-",
            ]
        )
    return rows


def _precisions(card: ModelCard) -> dict[str, list[str]]:
    """What a file of each format can hold of this network; nothing where its weights are more than
    one file may be.
    """
    return {
        entry.name: [
            p for p in entry.precisions if card.params * most_bits(entry, p) / 8 < entry.max_bytes
        ]
        for entry in FORMATS.values()
    }


def model_lines(facts: dict[str, object]) -> list[list[str]]:
    """The facts as name and text; those with parts have a row a part."""
    lines = []
    for name, value in facts.items():
        title = name.replace("_", " ")
        lines += [[title, text] for text in _texts(name, value)]
    return lines


def _texts(name: str, value: object) -> list[str]:
    match name, value:
        case _, None:
            return ["-"]
        case "input_size", list():
            return ["x".join(map(str, value))]
        case "params", int():
            return [f"{value / 1e6:.2f} M"]
        case "published", list():
            return [f"{p['value']} {p['metric']} ({p['source']})" for p in value] or ["-"]
        case "demo_weights", dict():
            return [
                f"{score_text(value)} on held-out drawn scenes: {value['data']}",
                f"classes: {', '.join(value['labels'])}",
                f"made by {value['made_by']}",
            ]
        case "precisions", dict():
            large = "none, its weights are too large for one file"
            return [f"{key}: {', '.join(entry) or large}" for key, entry in value.items()]
        case _, dict():
            return [f"{key}: {', '.join(map(str, entry))}" for key, entry in value.items()]
        case _, list():
            return [", ".join(map(str, value))]
    return [str(value)]

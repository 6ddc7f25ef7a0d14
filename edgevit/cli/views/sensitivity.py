"""What each block of a network loses by being int8, as rows and as plain data."""

from edgevit.quantize.sensitivity import INT8_COST, Sensitivity

COLUMNS = ("int8", "block", "cost", "SQNR", "metric", "Pareto")


def sensitivity_columns(sensitivity: Sensitivity) -> list[str]:
    """`COLUMNS` with the metric's own name."""
    return [sensitivity.metric if name == "metric" else name for name in COLUMNS]


def sensitivity_rows(sensitivity: Sensitivity) -> list[list[str]]:
    """A row of `COLUMNS` a block, the worst first, and then a mixture, from all int8 to all float.

    The cost is of the whole network, 1 where all of it is float.
    """
    total = sum(row.block.macs for row in sensitivity.rows)
    rows = [
        [
            "one block",
            row.block.name,
            f"{1 - (1 - INT8_COST) * row.block.macs / total:.3f}",
            f"{row.sqnr:.1f} dB",
            "-" if row.value is None else f"{row.value:.4f}",
            "-",
        ]
        for row in sorted(sensitivity.rows, key=lambda row: row.sqnr)
    ]
    for point in sensitivity.points:
        count = len(point.floats)
        rows.append(
            [
                f"all but {count}" if count else "all",
                f"float too: {point.floats[-1]}" if count else "-",
                f"{point.cost:.3f}",
                f"{point.sqnr:.1f} dB",
                "-" if point.value is None else f"{point.value:.4f}",
                "yes" if point.best else "no",
            ]
        )
    return rows


def sensitivity_facts(sensitivity: Sensitivity) -> dict[str, object]:
    """Plain data, with the patterns that `--keep-float` takes."""
    return {
        "metric": sensitivity.metric,
        "float_value": sensitivity.float_value,
        "costs": "measured" if sensitivity.measured_costs else "modelled by MACs",
        "blocks": [
            {
                "name": row.block.name,
                "layers": list(row.block.layers),
                "macs": row.block.macs,
                "sqnr_db": row.sqnr,
                "value": row.value,
            }
            for row in sensitivity.rows
        ],
        "mixtures": [
            {
                "float_blocks": list(point.floats),
                "keep_float": list(sensitivity.patterns(point)),
                "cost": point.cost,
                "sqnr_db": point.sqnr,
                "value": point.value,
                "pareto": point.best,
            }
            for point in sensitivity.points
        ],
    }

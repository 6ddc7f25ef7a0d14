"""Every rewrite of ViT-Adapter, with the reason for its place."""

from edgevit.networks.system import ALL_FORMATS, Pass, alone
from edgevit.networks.vit_adapter.dense_sampling import bound_gathers, sample_by_products
from edgevit.networks.vit_adapter.fold_sampling import fold_sampling_units
from edgevit.networks.vit_adapter.folds import fix_positions, fold_layer_scales, fold_map_norms
from edgevit.networks.vit_adapter.gather_sampling import sample_by_rows
from edgevit.networks.vit_adapter.order_windows import order_windows

PASSES: tuple[Pass, ...] = (
    Pass(
        alone(fold_map_norms),
        "common",
        ALL_FORMATS,
        "after the norms: an adapter's own go into convolutions that have a bias",
        before="fold-deconv-norms",
    ),
    Pass(
        alone(fix_positions),
        "common",
        ALL_FORMATS,
        "the input size is fixed by now, and so is what depends on it and on weights alone",
        before="fold-deconv-norms",
    ),
    Pass(
        alone(fold_layer_scales),
        "common",
        ALL_FORMATS,
        "before weight edits, which measure the projections that run",
        before="fold-deconv-norms",
    ),
    Pass(
        order_windows,
        "common",
        ALL_FORMATS,
        "attention over all tokens is rewritten later, and so are the whole windows this leaves",
        before="fold-deconv-norms",
    ),
    Pass(
        fold_sampling_units,
        "format",
        ("onnx", "coreml"),
        "these runtimes have a grid_sample of their own, the fastest form there",
    ),
    Pass(
        sample_by_products,
        "format",
        ("executorch", "litert"),
        "after the norms before it, of which its projections have the affine; XNNPACK has no"
        " grid_sample, and small samplings are fastest as products inside of it",
    ),
    Pass(
        bound_gathers,
        "format",
        ("executorch",),
        "of the large samplings, as many as cut the graph in more than ten pieces",
    ),
    Pass(
        sample_by_rows,
        "format",
        ("executorch", "litert"),
        "the other samplings: one row read a point is the least that is left outside",
    ),
)

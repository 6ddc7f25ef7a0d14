"""lower: a network and an example input become one file of one format, or one clear error."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgevit_export.artifact import Artifact, Contents, content_sha256, content_size
from edgevit_export.errors import ExportError, LoweringFailed, TooLarge, Unsupported
from edgevit_export.formats import Format, backend, format_named, most_bits, tool_versions
from edgevit_export.names import Names
from edgevit_export.quantization.styles import STYLES
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme

if TYPE_CHECKING:
    from torch import Tensor, nn


def lower(
    model: "nn.Module",
    example: "tuple[Tensor, ...]",
    format: str,  # noqa: A002 - a file format, as everywhere
    scheme: Scheme,
    path: Path,
    names: Names,
    samples: "Iterable[tuple[Tensor, ...]]" = (),
) -> Artifact:
    """Write an eval-mode network to `path` at the fixed shapes of `example` (float32).

    `samples` are calibration inputs, for schemes that need them; they are read once, one at a time.
    Raises `Unsupported` (format, precision), `MissingPackage`, `TooLarge` before any work is
    done, `BadCalibration`, and `LoweringFailed` where the exporter gives up; then nothing stays at
    `path`.
    """
    entry = format_named(format)
    if scheme.precision not in entry.precisions:
        raise Unsupported(
            f"{entry.name} files have no precision {scheme.precision};"
            f" they have {', '.join(entry.precisions)}.",
            next=f"--precision {entry.precisions[0]}",
        )
    tools = tool_versions(entry)
    check_size(model, entry, scheme)
    try:
        counts: Mapping[str, int] = {}
        if scheme.precision != "fp32":
            with quiet():  # torchao tells of every CUDA library it does not find
                from edgevit_export.quantization.graph import layer_counts, quantize
        if scheme.calibrated:
            model = quantize(model, example, scheme, STYLES[entry.name], samples)
            counts = layer_counts(model)
        contents: Contents = backend(entry).write(model, example, names, scheme, path)
    except BaseException as error:
        _remove(path)
        # The disk's failures and Ctrl-C are not the exporter's; its own come as any kind of error.
        if isinstance(error, ExportError | OSError | MemoryError) or not isinstance(
            error, Exception
        ):
            raise
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        raise LoweringFailed(f"The {entry.name} exporter failed: {reason}") from error
    return Artifact(
        format=entry.name,
        path=path,
        precision=scheme.precision,
        size=content_size(path),
        sha256=content_sha256(path),
        inputs=contents.inputs,
        outputs=contents.outputs,
        tools=tools,
        facts={**contents.facts, **counts},
    )


def check_size(model: "nn.Module", entry: Format, scheme: Scheme) -> None:
    """Refuse a file that its format cannot hold; raises `TooLarge`."""
    numbers = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers())
    expected = numbers * most_bits(entry, scheme.precision) / 8
    if expected >= entry.max_bytes:
        raise TooLarge(
            f"The {entry.name} file would hold {expected / 2**30:.1f} GiB of weights;"
            f" the format allows {entry.max_bytes / 2**30:.0f} GiB.",
            next="choose a smaller model (edgevit list)",
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

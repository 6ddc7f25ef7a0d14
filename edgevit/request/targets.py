"""TARGETS: what a device takes, in order of preference."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of device: formats in order of preference, and its default precision."""

    name: str
    formats: tuple[str, ...]
    precision: str


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("android-arm64", ("executorch", "onnx", "litert"), "fp32"),
            Target("linux-arm64", ("onnx", "litert", "executorch"), "fp32"),
            Target("ios-arm64", ("coreml",), "fp16"),
            Target("macos-arm64", ("coreml",), "fp16"),
            Target("host", ("onnx", "executorch", "litert", "coreml"), "fp32"),
        )
    }
)

# Other names that --format takes.
FORMAT_ALIASES: Mapping[str, str] = MappingProxyType({"tflite": "litert"})


def target_named(name: str) -> Target:
    """The target of this name; raises `UsageError` with the nearest ones."""
    try:
        return TARGETS[name]
    except KeyError:
        near = difflib.get_close_matches(name, TARGETS, n=2, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise UsageError(
            f"There is no target {name!r}{hint}; there are {', '.join(TARGETS)}.",
            next="edgevit export --help",
        ) from None


def narrowed(target: Target, names: tuple[str, ...]) -> tuple[str, ...]:
    """The target's formats of these names, or all, in its own order; raises `UsageError`."""
    if not names:
        return target.formats
    wanted = [FORMAT_ALIASES.get(name, name) for name in names]
    for name in wanted:
        if name not in target.formats:
            raise UsageError(
                f"{target.name} takes {', '.join(target.formats)}, not {name!r}.",
                next=f"--format {target.formats[0]}, or --target host",
            )
    return tuple(name for name in target.formats if name in wanted)

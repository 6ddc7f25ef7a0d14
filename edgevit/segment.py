"""`edgevit run`: photos in, overlays, masks and class shares out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgevit.bundle import open_bundle
from edgevit.errors import UsageError
from edgevit.predict import open_predictor
from edgevit.sealing import check_writable, whole_file
from edgevit.tasks.draw import overlay
from edgevit.tasks.pictures import open_picture


@dataclass(frozen=True, slots=True)
class Segmented:
    """What was written for one photo."""

    picture: Path
    overlay: Path
    mask: Path
    shares: dict[str, float]

    @property
    def top(self) -> str:
        """The three largest classes, for a table."""
        ranked = sorted(self.shares.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{name} {share:.1%}" for name, share in ranked)

    def as_json(self) -> dict[str, object]:
        """Plain data."""
        return {
            "picture": str(self.picture),
            "overlay": str(self.overlay),
            "mask": str(self.mask),
            "shares": {name: round(share, 6) for name, share in self.shares.items()},
        }


def segment_pictures(
    bundle: Path,
    pictures: Sequence[Path],
    output_dir: Path,
    format: str | None = None,  # noqa: A002 - the design's word
    official_resize: bool = False,
    threads: int = 1,
    done: Callable[[str], None] = lambda _: None,
) -> list[Segmented]:
    """Segment each photo into `<name>.overlay.png`, `<name>.mask.png` (class indices) and
    `<name>.json`.

    Every photo is decoded once before anything is written, so that a broken one stops the command
    early. Raises `BundleError`, `CheckFailed`, `PictureError` and `UsageError`.
    """
    check_writable(output_dir)
    names = [picture.stem for picture in pictures]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"Two pictures are named {twice}; their results would overwrite each other.",
            next="one command for each, with its own -o",
        )
    opened = open_bundle(bundle)
    written = []
    for picture in pictures:
        open_picture(picture)
    with open_predictor(opened, format, official_resize, threads) as predictor:
        output_dir.mkdir(parents=True, exist_ok=True)
        for picture, name in zip(pictures, names, strict=True):
            found = predictor.predict(picture)
            result = Segmented(
                picture,
                output_dir / f"{name}.overlay.png",
                output_dir / f"{name}.mask.png",
                found.shares,
            )
            with whole_file(result.overlay) as path:
                drawn = overlay(found.photo, found.mask, opened.manifest.labels)
                drawn.save(path, format="PNG")
            with whole_file(result.mask) as path:
                Image.fromarray(found.mask).save(path, format="PNG")
            with whole_file(output_dir / f"{name}.json") as path:
                path.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
            written.append(result)
            done(f"segmented {picture.name} with {predictor.file.path}: {result.top}")
    return written

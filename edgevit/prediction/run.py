"""`edgevit run`: photos or videos in, what the network sees in them as JSON and as pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgevit.bundle.opened import open_bundle
from edgevit.bundle.sealing import check_writable, whole_file
from edgevit.errors import UsageError
from edgevit.prediction.predictor import Predictor, open_predictor
from edgevit.prediction.settings import check_settings
from edgevit.tasks.clips import check_video
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pose.boxes import read_boxes
from edgevit.tasks.preprocessing import Box
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import USUAL, Result, Settings
from edgevit_runtimes.device import check_threads


@dataclass(frozen=True, slots=True)
class Written:
    """The files written for one photo or video."""

    source: Path
    task: str
    drawings: Mapping[str, Path]  # by what they show
    headline: str
    content: Mapping[str, object]  # the result as plain data

    def to_json(self) -> dict[str, object]:
        """Plain data: the source, the pictures drawn, and the result."""
        kind = "video" if TASKS[self.task].clips else "picture"
        drawn = {name: str(path) for name, path in self.drawings.items()}
        return {kind: str(self.source), **drawn, **self.content}


def run_files(
    bundle: Path,
    sources: Sequence[Path],
    output_dir: Path,
    format: str | None = None,  # noqa: A002 - a file format, as everywhere
    settings: Settings = USUAL,
    threads: int = 1,
    boxes: Path | None = None,
    done: Callable[[str], None] = lambda _: None,
) -> list[Written]:
    """Write `<name>.json` and `<name>.<drawing>.png` for each photo or video.

    Every photo is decoded once before anything is written, so that a broken one stops the command
    early. Raises `BundleError`, `CheckFailed`, `PictureError`, `UsageError`, and
    `MissingDependency` for a video file without PyAV.
    """
    check_threads(threads)
    check_writable(output_dir)
    names = [_name(source) for source in sources]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"Two files are named {twice}; their results would overwrite each other.",
            next="one command for each, with its own -o",
        )
    opened = open_bundle(bundle)
    check_settings(opened, replace(settings, boxes=boxes is not None))
    clips = TASKS[opened.manifest.task].clips
    boxes_of: Mapping[str, Sequence[Box]] = (
        read_boxes(boxes, [source.name for source in sources]) if boxes is not None else {}
    )
    for source in sources:
        if clips:
            check_video(source)
        elif not source.is_dir():  # `predict` refuses folders in its own words
            open_picture(source)
    written = []
    with open_predictor(opened, format, settings, threads) as predictor:
        for source, name in zip(sources, names, strict=True):
            result = predictor.predict(source, boxes_of.get(source.name))
            output_dir.mkdir(parents=True, exist_ok=True)
            written.append(_write(predictor, source, output_dir, name, result))
            done(f"{source.name} with {predictor.file.path}: {result.headline}")
    return written


def _name(source: Path) -> str:
    """What the results of a photo or video are called; `.` and `..` by the folder's own name."""
    if not source.is_dir():
        return source.stem
    return source.resolve().name if source.name in ("", "..") else source.name


def _write(
    predictor: Predictor, source: Path, output_dir: Path, name: str, result: Result
) -> Written:
    drawings = result.drawings()
    paths = {kind: output_dir / f"{name}.{kind}.png" for kind in drawings}
    for kind, drawing in drawings.items():
        with whole_file(paths[kind]) as path:
            drawing.save(path, format="PNG")
    task = predictor.bundle.manifest.task
    written = Written(source, task, paths, result.headline, result.to_json())
    with whole_file(output_dir / f"{name}.json") as path:
        path.write_text(json.dumps(written.to_json(), indent=1) + "\n", encoding="utf-8")
    return written

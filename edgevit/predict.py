"""Photos through one file of a bundle: preprocess, run, decode, as the manifest says."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevit.bundle import Bundle
from edgevit.errors import CheckFailed, UsageError
from edgevit.manifest import FileEntry
from edgevit.ports import from_file, to_file
from edgevit.tasks.mask import Labels, exact_mask
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.segmentation import class_shares, official_resize, preprocess, restore_mask
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.session import Session

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the network sees in one photo."""

    photo: Picture  # RGB [H, W, 3]
    mask: Labels  # [H, W], class index, at the photo's size
    network_mask: Labels  # at the network's input size, the exact mask
    shares: dict[str, float]  # class name -> share of the photo's pixels


@dataclass(frozen=True, slots=True)
class Predictor:
    """One opened file of a segmentation bundle."""

    bundle: Bundle
    file: FileEntry
    session: Session
    official_resize: bool

    def predict(self, image: Path | str | Picture) -> Prediction:
        """Segment one photo: a path, or RGB uint8 [H, W, 3]; raises `PictureError`."""
        photo = image if isinstance(image, np.ndarray) else open_picture(Path(image))
        manifest = self.bundle.manifest
        prepared = preprocess(photo, manifest.preprocessing)
        spec = self.file.inputs[0]
        output = self.session.run(to_file(prepared.tensor, spec))[0]
        array = from_file(output, self.file.outputs[0])[0]
        if np.issubdtype(array.dtype, np.integer):
            network_mask = self._labels(array)
        else:
            if not np.isfinite(array).all():
                raise CheckFailed(
                    f"{self.file.path} returned values that are not finite.",
                    next=f"edgevit verify {self.bundle.path}",
                )
            network_mask = exact_mask(array, manifest.input_size)
        if self.official_resize:
            mask = official_resize(array, prepared)
        else:
            mask = restore_mask(network_mask, prepared)
        return Prediction(photo, mask, network_mask, class_shares(mask, manifest.labels))

    def _labels(self, array: NDArray[np.generic]) -> Labels:
        """The label map a file returned, in the type that `exact_mask` gives."""
        count = len(self.bundle.manifest.labels)
        if array.min() < 0 or array.max() >= count:
            raise CheckFailed(
                f"{self.file.path} returned labels outside its {count} classes.",
                next=f"edgevit verify {self.bundle.path}",
            )
        return array.astype(np.uint8 if count <= 256 else np.uint16)


@contextlib.contextmanager
def open_predictor(
    bundle: Bundle,
    format: str | None = None,  # noqa: A002 - the design's word
    official: bool = False,
    threads: int = 1,
) -> Iterator[Predictor]:
    """Check one file's hash and open it; raises `UsageError` where the bundle cannot do what is
    asked.
    """
    manifest = bundle.manifest
    if manifest.task != "segmentation":
        raise UsageError(
            f"`run` draws segmentations; {manifest.model}'s task is {manifest.task},"
            " which this version exports and verifies but does not draw.",
            next=f"edgevit verify {bundle.path}",
        )
    if official and manifest.output == "mask":
        raise UsageError(
            "--official-resize needs logits; this bundle's files return the mask.",
            next="edgevit export with --output logits",
        )
    file = bundle.entry(format)
    with open_session(bundle.checked(file), threads=threads) as session:
        yield Predictor(bundle, file, session, official)

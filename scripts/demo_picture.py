"""Draw a held-out scene for `make demo`: a picture that the demo weights have never seen.

python scripts/demo_picture.py demo/pictures/scene.png
"""

import argparse
from pathlib import Path

from PIL import Image

from edgevit.data.scenes import HELD_OUT_SEEDS, scene

SEED = HELD_OUT_SEEDS[16]  # seven objects of six classes, all well seen


def main() -> None:
    """Write one scene, in the format of its file name."""
    parser = argparse.ArgumentParser(description="Draw a held-out scene.")
    parser.add_argument("picture", type=Path, help="where to write it: .png or .jpg")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(448, 448))
    options = parser.parse_args()
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(options.seed, *options.size).image).save(options.picture)


if __name__ == "__main__":
    main()

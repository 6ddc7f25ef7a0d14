"""T2T-ViT in integers."""

from edgevit.networks.integers import LAST, Integers

INTEGERS = Integers(
    "mse",
    (LAST,),
    edits=("smooth-norms",),  # t2t-vit-micro 32.0 to 32.5 dB; with corrected biases 32.6
)

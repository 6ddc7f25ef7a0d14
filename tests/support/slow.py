"""The micro networks that `make test` does not take through every format."""

# `make test-all` does, in tests/e2e/test_matrix.py: 155, 120, 65, 46 and 41 s of one core. Of
# vit-micro and topformer-t `make test` makes all files, too. Of these it lowers what is particular
# to them, in networks of one or two blocks (mvitv2/test_pooling_attention.py,
# vit_adapter/test_line.py and test_plain_transformers.py below edgevit/networks/), and exports one
# of each task to ONNX (edgevit/prediction/test_every_task.py).
SLOW = (
    "vit-adapter-micro-upernet",
    "mvitv2-micro-video",
    "mvitv2-micro",
    "t2t-vit-micro",
    "vitpose-micro",
)

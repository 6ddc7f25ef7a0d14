"""The micro networks that take longest to lower."""

# `make test-all` takes them through every format in tests/e2e/test_matrix.py: 154, 121 and 65 s of
# one core. `make test` lowers what is particular to them in their systems' own tests
# (mvitv2/test_pooling_attention.py, vit_adapter/test_line.py), and exports the video network and
# the segmentation to ONNX in edgevit/prediction/test_every_task.py.
SLOW = ("vit-adapter-micro-upernet", "mvitv2-micro-video", "mvitv2-micro")

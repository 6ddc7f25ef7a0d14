"""Reference parity cases: rebuild a case's weights, input and expected outputs from its small files.

A case is two files: `<case>.json` (checkpoint keys with shape and kind, input shape and seed, output shapes) and
`<case>.npz` (expected outputs, fp32). The expected outputs were computed by the system's official PyTorch code in eval mode
from exactly these weights. Every tensor is a pure function of (seed, key, shape, kind), so no weight file is needed.
An output of more than 4096 values is stored as the sample that `sample_indices` names. Class outputs are logits. Some cases
also hold auxiliary or intermediate outputs (`aux`, `forward_features`, `scale2` to `scale5`).
`vitpose_decode_udp.npz` stands apart: heatmaps and boxes with the official UDP decoding of them.

Example:
    case = load_case("topformer_t_ade20k_448x448")
    write_checkpoint(case, "ckpt.pth")          # in the layout in which the official project publishes it
    x = case_input(case)                        # float32, NCHW (video: NCTHW), already normalised
    check(case, {"logits": my_logits})          # max |difference| a output; raises where a shape differs
"""

import json
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def _rng(seed, name):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def fill(name, shape, kind, seed):
    """One tensor. Kinds keep activations of order one and leave nothing at zero or one, so that parity is a real test."""
    r, shape = _rng(seed, name), tuple(shape)
    if kind == "nbt":
        return np.full(shape, 1000, np.int64)
    if kind == "norm_w":
        v = r.uniform(0.6, 1.4, shape)
    elif kind == "norm_b":
        v = 0.2 * r.standard_normal(shape)
    elif kind == "bn_mean":
        v = 0.3 * r.standard_normal(shape)
    elif kind == "bn_var":
        v = r.uniform(0.5, 1.5, shape)
    elif kind == "bias":
        v = 0.1 * r.standard_normal(shape)
    elif kind == "embed":
        v = 0.5 * r.standard_normal(shape)
    elif kind == "gamma":
        v = r.choice([-1.0, 1.0], shape) * r.uniform(0.3, 0.9, shape)
    elif kind == "gamma_pos":
        v = r.uniform(0.4, 1.1, shape)
    elif kind == "offset_b":
        v = 2.0 * r.standard_normal(shape)
    elif kind == "orthogonal_rows":
        q, t = np.linalg.qr(r.standard_normal(shape[::-1]))
        v = (q * np.sign(np.diag(t))).T * np.sqrt(shape[0])
    elif kind.startswith("w:"):
        v = r.standard_normal(shape) / np.sqrt(float(kind[2:]))
    elif kind.startswith("w_small:"):
        return (
            0.22 * (r.standard_normal(shape) / np.sqrt(float(kind[8:]))).astype(np.float32)
        ).astype(np.float32)
    else:
        raise ValueError(f"unknown kind {kind!r} for {name}")
    return v.astype(np.float32)


def load_case(case, folder=HERE):
    return json.loads((Path(folder) / f"{case}.json").read_text())


def state_dict(case):
    """Official key -> array, without the container's prefix."""
    return {k: fill(k, v["shape"], v["kind"], case["seed"]) for k, v in case["keys"].items()}


def case_input(case):
    return (
        np.random.default_rng(case["input"]["seed"])
        .standard_normal(case["input"]["shape"])
        .astype(np.float32)
    )


def write_checkpoint(case, path):
    """Save as the official project publishes it (torch.save; tensors, or arrays for detectron2's pickle)."""
    import torch

    arrays, layout = state_dict(case), case["layout"]
    sd = {
        layout.get("prefix", "") + k: torch.from_numpy(np.ascontiguousarray(v))
        for k, v in arrays.items()
    }
    if layout["container"] == "bare":
        obj = sd
    elif layout["container"] == "model-numpy":
        obj = {"model": {k: v.numpy() for k, v in sd.items()}, "__author__": "reference"}
    else:
        obj = {layout["container"]: sd, **layout.get("extra", {})}
    torch.save(obj, path)


def sample_indices(size):
    return (
        np.sort(np.random.default_rng(5).choice(size, 4096, replace=False))
        if size > 4096
        else np.arange(size)
    )


def check(case, outputs, folder=HERE):
    """Largest |difference| for each output of the case."""
    expected, worst = np.load(Path(folder) / f"{case['case']}.npz"), {}
    for name, spec in case["outputs"].items():
        got = np.asarray(outputs[name], np.float32)
        if list(got.shape) != spec["shape"]:
            raise ValueError(
                f"{case['case']}: {name} has shape {list(got.shape)}, expected {spec['shape']}"
            )
        worst[name] = float(np.abs(got.ravel()[sample_indices(got.size)] - expected[name]).max())
    return worst

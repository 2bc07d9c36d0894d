"""Z of a frozen backbone, computed once per case: a head, a probe or an adapter behind theta_f never needs theta_f again.

A file is found by what Z depends on, the hash of the weights (with the wiring) and the hash of the input, so that neither other
weights nor another crop can be mistaken for it. Stored as float16 under ``data_folder()/features``; delete it at will.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.settings import data_folder


class FeatureCache:
    """``cache(x)`` gives what ``backbone.features(x)`` gives, rounded to float16, from disk where it is already there.

    backbone: any ``Backbone``; run in eval mode, without gradients, one sample at a time. folder: where files lie, by default
    ``data_folder()/features``. hits, misses: samples found and computed. Changing the weights later is noticed.
    """

    def __init__(self, backbone: nn.Module, folder: str | Path | None = None):
        self.backbone = backbone
        self.folder = data_folder() / "features" if folder is None else Path(folder)
        self.hits = self.misses = 0
        self._seen: tuple | None = None
        self._key = ""

    def __call__(self, x: Tensor) -> Tensor:
        """Z (B, C, X, Y, Z) of x (B, in_channels, X, Y, Z), in x's dtype and on its device, without gradient.

        Raises ModelError if a feature leaves float16's range, and what ``features`` raises.
        """
        if x.ndim != 5 or not x.shape[0]:
            raise ModelError(f"The feature cache was given {tuple(x.shape)}; it takes at least one sample, (B, C, X, Y, Z).")
        return torch.cat([self._one(sample[None]) for sample in x]).to(x)

    def _one(self, x: Tensor) -> Tensor:
        path = self.folder / self._weights() / f"{tensor_hash(x)}.safetensors"
        try:
            z = load_file(path)["z"]
            self.hits += 1
        except (OSError, SafetensorError, KeyError):  # absent, or broken by a full disk: compute it (again)
            z = self._compute(x)
            _write(path, z)
            self.misses += 1
        return z.to(x)

    def _compute(self, x: Tensor) -> Tensor:
        was_training = self.backbone.training
        self.backbone.eval()
        try:
            with torch.no_grad():
                z = self.backbone.features(x).half().cpu().contiguous()
        finally:
            self.backbone.train(was_training)
        if not z.isfinite().all():
            raise ModelError("A feature is NaN or above 65504, which float16 cannot hold; normalise the input or the features.")
        return z

    def _weights(self) -> str:
        """The weights' hash, computed again only when a tensor was replaced or written to since."""
        state = self.backbone.state_dict(keep_vars=True)
        seen = tuple((key, value.data_ptr(), value._version) for key, value in state.items())
        if seen != self._seen:
            self._key, self._seen = weights_hash(self.backbone), seen
        return self._key


def weights_hash(backbone: nn.Module) -> str:
    """32 hex digits of all entries of the state_dict, and the modules' printed form, which tells one merging from another."""
    digest = hashlib.sha256(repr(backbone).encode())
    for key, value in sorted(backbone.state_dict().items()):
        digest.update(f"{key} {tensor_hash(value)}".encode())
    return digest.hexdigest()[:32]


def tensor_hash(tensor: Tensor) -> str:
    """32 hex digits of a tensor's dtype, shape and bytes, the same on every device."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _write(path: Path, z: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        save_file({"z": z}, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

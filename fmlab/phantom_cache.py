"""Phantoms on disk: each body is made once, in parallel, and kept compressed; damage is noticed and repaired.

A file holds int16 HU and uint8 labels, so a body is the same whether it was just made or read again. Its name is its key:
phantoms/<version of the sampler>/<centre>-<spacing>mm[-partial]/seed-000012.npz.
"""

from __future__ import annotations

import io
import json
import os
import re
import uuid
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial as bind
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from fmlab.errors import DataError
from fmlab.settings import data_folder
from fmlab.volume import Volume

Sampler = Callable[..., Volume]


@dataclass(frozen=True)
class Body:
    """What makes a phantom unique: seed, centre, spacing in mm, whether only the centre's protocol counts as annotated."""

    seed: int
    centre: str
    spacing: float
    partial: bool
    version: str

    @property
    def name(self) -> str:
        """Unique among centres, so that a body is one patient: "phantom-A-000012"."""
        return f"phantom-{self.centre}-{self.seed:06d}"

    @property
    def path(self) -> Path:
        """Where the cache keeps it."""
        kind = f"{self.centre}-{self.spacing:g}mm{'-partial' if self.partial else ''}"
        return data_folder() / "phantoms" / re.sub(r"[^A-Za-z0-9._-]", "_", self.version) / kind / f"seed-{self.seed:06d}.npz"


def ensure(bodies: Sequence[Body], sampler: Sampler, workers: int | None = None) -> None:
    """Make whatever of these bodies is not in the cache, with a progress bar; what is done stays if it is interrupted.

    sampler: ``sampler(seed, centre=..., spacing=..., [partial=True])``, importable by name for several workers. workers: number
    of processes (1: this one); by default one per CPU with at least eight bodies each, since a process takes seconds to start.

    Raises DataError if the cache cannot be written.
    """
    missing = [body for body in bodies if not body.path.is_file()]
    if not missing:
        return
    workers = max(1, min(os.cpu_count() or 1, len(missing) // 8) if workers is None else min(workers, len(missing)))
    with tqdm(total=len(missing), desc="bodies", unit="body", leave=False, disable=None) as bar:
        if workers > 1:
            missing = _in_parallel(missing, sampler, workers, bar)
        for body in missing:
            make(body, sampler)
            bar.update()


def load(body: Body, sampler: Sampler) -> Volume:
    """Read a body from the cache; one that is lost, damaged or of another key is made again, with a warning."""
    try:
        return _read(body)
    except FileNotFoundError:
        reason = "is not there any more"
    except Exception as error:  # zipfile, zlib, numpy and json raise many kinds; whatever it is, the body can be made again
        reason = f"is damaged ({error or type(error).__name__})"
    warnings.warn(f"The cached phantom {body.path} {reason}; it is made again.", stacklevel=2)
    make(body, sampler)
    return _read(body)


def make(body: Body, sampler: Sampler) -> None:
    """Sample one body and put it into the cache in one step."""
    options = {"partial": True} if body.partial else {}
    volume = sampler(body.seed, centre=body.centre, spacing=body.spacing, **options)
    facts = {"key": asdict(body), "modality": volume.modality, "info": dict(volume.info),
             "annotated": None if volume.annotated is None else sorted(volume.annotated)}
    hu = volume.image[0].cpu().round().clamp(-32768, 32767).to(torch.int16).numpy()
    if volume.labels is None:
        raise DataError(f"The sampler gave {body.name} no labels, and a phantom needs some; correct the sampler.")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=hu, labels=volume.labels[0].cpu().numpy(), affine=volume.affine,
                        facts=np.frombuffer(json.dumps(facts, default=_plain).encode(), dtype=np.uint8))
    _write(body.path, buffer.getvalue())


def _in_parallel(bodies: list[Body], sampler: Sampler, workers: int, bar: tqdm) -> list[Body]:
    """Make bodies in spawned processes (fork and torch's threads do not mix); returns those left over if the processes died."""
    left = set(bodies)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
    try:
        jobs = {pool.submit(make, body, sampler): body for body in bodies}
        for job in as_completed(jobs):
            job.result()
            left.discard(jobs[job])
            bar.update()
    except BrokenProcessPool:  # out of memory, or a script without an `if __name__ == "__main__"` guard
        warnings.warn("The worker processes ended early; the remaining bodies are made in this process.", stacklevel=4)
    finally:
        pool.shutdown(cancel_futures=True)
    return [body for body in bodies if body in left]


def _read(body: Body) -> Volume:
    with np.load(body.path, allow_pickle=False) as stored:
        facts = json.loads(stored["facts"].tobytes())
        if facts["key"] != asdict(body):
            raise ValueError(f"it holds another body, {facts['key']}")
        annotated = facts["annotated"]
        return Volume(image=torch.from_numpy(stored["image"].astype(np.float32))[None], affine=stored["affine"],
                      labels=torch.from_numpy(stored["labels"])[None], modality=facts["modality"], name=body.name,
                      info=facts["info"], annotated=None if annotated is None else frozenset(annotated))


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"The phantom {path} cannot be written ({error}); make room or set FMLAB_DATA elsewhere.") from error


def _plain(value: object) -> object:
    """Facts that JSON does not know: numbers of numpy and torch, else their text."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) in (1, ()) else str(value)


def loader(body: Body, sampler: Sampler) -> Callable[[], Volume]:
    """A function without arguments that loads the body when called; it can be pickled."""
    return bind(load, body, sampler)

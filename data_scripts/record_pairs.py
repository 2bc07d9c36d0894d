"""Record the embeddings of lesson 04: ``python -m data_scripts.record_pairs``.

Two small image-text models (``fmlab.contrastive.image_text``) learn axial slices of bodies with reports. A report states some
structures; in one model's reports also what is not there is stated, the other's say what is there and nothing else. What is kept
is what zero-shot needs: embeddings of slices of unseen people, and of both prompts of each structure. Everything follows from
the seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.contrastive import words
from fmlab.contrastive.clip_loss import clip_loss
from fmlab.contrastive.image_text import ImageText
from fmlab.contrastive.paired import ABSENT, PRESENT
from fmlab.lessons.experiments import zipf
from fmlab.lessons.paired_prompts import FINDINGS, STORED, spoken
from fmlab.training.order import seeded
from fmlab.volume import Volume
from fmlab.windows import WIDE

SIZE, STATED, LEAST = 48, 4, 4  # pixels of a slice, statements of a report, pixels of a structure that is there
STEPS, BATCH = 500, 64
VOCABULARY = words.vocabulary([PRESENT.format(spoken(name)) for name in FINDINGS] + ["not"])


def slices(bodies: Sequence[Volume], every: int) -> tuple[Tensor, Tensor]:
    """Slices (N, 48, 48) of [0, 1], upright, and what each shows (N, K) bool; each ``every``-th of a body."""
    pictures, truth = [], []
    for body in bodies:
        grey = WIDE(body.image[0])
        masks = torch.stack([body.mask(name) for name in FINDINGS])
        for z in range(0, body.shape[2], every):
            flat = grey[:, :, z].T.flip(0)
            space = [(SIZE - side) // 2 for side in flat.shape]
            pictures.append(F.pad(flat, (space[1], SIZE - flat.shape[1] - space[1], space[0], SIZE - flat.shape[0] - space[0])))
            truth.append(masks[:, :, :, z].sum((1, 2)) >= LEAST)
    return torch.stack(pictures), torch.stack(truth)


def report(there: Tensor, denies: bool, rng: np.random.Generator) -> str:
    """Some statements on a slice in any order; there: (K,) bool. denies: whether what is not there may be stated."""
    allowed = [k for k in range(len(FINDINGS)) if denies or there[k]]
    chosen = rng.permutation(allowed)[:STATED]
    return " ".join((PRESENT if there[k] else ABSENT).format(spoken(FINDINGS[k])) for k in chosen)


def trained(pictures: Tensor, truth: Tensor, denies: bool, seed: int, steps: int = STEPS) -> ImageText:
    """One model, in eval mode."""
    with seeded(seed):
        model = ImageText(list(VOCABULARY))
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    known = np.flatnonzero(truth.any(1).numpy())  # a slice of nothing has no report that says only what is there
    for step in range(steps):
        batch = torch.from_numpy(rng.choice(known, BATCH, replace=False))
        texts = [report(truth[n], denies, rng) for n in batch]
        seen = pictures[batch] * float(rng.uniform(0.9, 1.1))
        loss = clip_loss(model(seen[:, None].expand(-1, 3, -1, -1), texts))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {float(loss.detach()):.3f}", flush=True)
    return model.eval()


@torch.no_grad()
def embeddings(model: ImageText, pictures: Tensor) -> dict[str, np.ndarray]:
    """What is kept of a model: slices, both prompts, and the scale."""
    images = torch.cat([model.images(part[:, None].expand(-1, 3, -1, -1)) for part in pictures.split(64)])
    prompts = {kind: model.texts([text.format(spoken(name)) for name in FINDINGS])
               for kind, text in (("present", PRESENT), ("absent", ABSENT))}
    return {name: value.numpy().astype(np.float16) for name, value in {"images": images, **prompts, "scale": model.scale}.items()}


def main(arguments: list[str] | None = None) -> int:
    """Train both models and write the recording."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.record_pairs", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=STORED)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(arguments)
    setting = zipf.Setting()
    learned = [body for name in zipf.LEARNED for body in zipf.people(setting.people, name, setting.spacing)]
    unseen = [body for name in zipf.TESTED for body in zipf.people(setting.tested, name, setting.spacing, zipf.UNSEEN)]
    pictures, truth = slices(learned, 1)
    shown, there = slices(unseen, 4)
    kept = {"truth": there.numpy(), "slices": (255 * shown).round().byte().numpy()}
    for arm, denies in (("states", True), ("omits", False)):
        model = trained(pictures, truth, denies, 4, given.steps)
        kept |= {f"{arm}_{name}": value for name, value in embeddings(model, shown).items()}
    np.savez_compressed(given.output, **kept)
    print(f"{given.output}: {given.output.stat().st_size / 1e3:.0f} kB, {len(shown)} slices")
    return 0


if __name__ == "__main__":
    sys.exit(main())

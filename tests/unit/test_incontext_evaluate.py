"""Scores of in-context models: whose examples count, the lying control; picture files; the net for one task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fmlab.errors import DataError, ModelError
from fmlab.incontext.evaluate import dices, lying, without
from fmlab.incontext.examples import Examples
from fmlab.incontext.picture_files import Pictures, read_examples, read_picture
from fmlab.incontext.task_net import Pairs, task_net, task_net_dices


class Copies(nn.Module):
    """Answers with the mean of the support's masks, and remembers which images it was shown."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(1)), []

    def forward(self, query, images, masks, chunk=None):
        self.seen.append(images[0, :, 0, 0, 0])
        return masks.mean(1) * 20 - 10


def people(count: int = 6, side: int = 16) -> Examples:
    """Person i has grey i / 10 everywhere and a square whose left edge is at pixel i."""
    images = torch.stack([torch.full((1, side, side), i / 10) for i in range(count)])
    masks = torch.zeros_like(images)
    for i in range(count):
        masks[i, :, 2:8, i : i + 6] = 1
    return Examples(images, masks, tuple(f"person {i}" for i in range(count)))


def test_a_query_never_learns_from_its_own_person():
    model, support = Copies(), people()
    found = dices(model, support, support[[2, 4]], shots=16)
    for greys, person in zip(model.seen, (2, 4)):
        assert sorted(round(10 * float(grey)) for grey in greys) == [i for i in range(6) if i != person]
    assert found.dtype == torch.float64 and (found > 0).all() and (found < 1).all()


def test_nobody_left_to_learn_from_is_said():
    with pytest.raises(ModelError, match="person 0"):
        without(people(1), "person 0")
    assert len(without(people(3), "a stranger")) == 3


def test_a_lie_keeps_the_images_and_takes_the_other_masks():
    support, other = people(4), people(3)[[2, 1, 0]]
    false = lying(support, other)
    assert torch.equal(false.images, support.images)
    assert torch.equal(false.masks[3], other.masks[0])
    opposite = Examples(support.images[:1], 1 - support.masks[:1])
    assert float(dices(Copies(), lying(people(1), opposite), support[[1]]).mean()) < 0.5


def test_seeds_draw_other_supports():
    model, support = Copies(), people()
    for seed in (0, 0, 1):
        dices(model, support, support[[0]], shots=2, seed=seed)
    first, again, other = model.seen
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.fixture
def files(tmp_path):
    """Two pictures of 20 x 30 pixels, each with the mask of its upper left corner."""
    pairs = []
    for name in "ab":
        grey = np.random.default_rng(ord(name)).integers(40, 200, (20, 30)).astype(np.uint8)
        mask = np.zeros((20, 30), np.uint8)
        mask[:10, :15] = 255
        for kind, values in (("image", grey), ("mask", mask)):
            Image.fromarray(values).save(tmp_path / f"{name}-{kind}.png")
        pairs.append((tmp_path / f"{name}-image.png", tmp_path / f"{name}-mask.png"))
    return pairs


def test_picture_files_become_squares_in_zero_to_one(files):
    picture = read_picture(files[0][0], size=60)
    assert picture.shape == (1, 60, 60) and picture.min() >= 0 and picture.max() <= 1
    examples = read_examples(files, size=60)
    assert examples.names == ("a-image", "b-image")
    assert examples.masks[0, 0, 10:30, :30].mean() > 0.95 and examples.masks.mean() == pytest.approx(600 / 3600, abs=0.02)
    upside_down = read_examples(files, size=60, upside_down=True)
    assert torch.equal(upside_down.masks, examples.masks.flip(-2))


def test_a_file_that_is_no_picture_is_said(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(DataError, match="PNG or JPEG"):
        read_picture(tmp_path / "x.png")


def test_pictures_make_episodes_of_different_subjects(files):
    source, rng = Pictures({"corner": read_examples(files, 16)}), np.random.default_rng(0)
    for _ in range(10):
        images, masks, subjects = source.draw(rng, 4)
        assert images.shape == masks.shape == (4, 1, 16, 16)
        assert subjects[0] not in subjects[1:]
    with pytest.raises(DataError, match="two subjects"):
        Pictures({"corner": read_examples(files[:1], 16)})


def test_the_task_net_learns_its_one_task():
    rng = torch.Generator().manual_seed(0)
    masks = torch.zeros(8, 1, 32, 32)
    for i, (x, y) in enumerate(torch.randint(4, 20, (8, 2), generator=rng).tolist()):
        masks[i, :, x : x + 8, y : y + 8] = 1
    images = (0.3 + 0.5 * masks + 0.05 * torch.randn(masks.shape, generator=rng)).clamp(0, 1)
    examples = Examples(images, masks)
    assert Pairs(examples)[0]["mask"].unique().tolist() == [0, 1]
    before, after = (task_net_dices(task_net(examples[:6], steps), examples[6:]).mean() for steps in (1, 100))
    assert after > 0.8 > before

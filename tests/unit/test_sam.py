"""SAM: many prompts on many images in one call equal each alone; the predictor; everything at once; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fmlab import hub
from fmlab.errors import ModelError, PromptError
from fmlab.interactive import automatic
from fmlab.interactive.automatic import Settings, everything
from fmlab.interactive.image_attention import ROWS, ImageAttention
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.interactive.windows import in_windows


@pytest.fixture(scope="module")
def model() -> Sam:
    torch.manual_seed(3)
    return Sam(size=64, patch=8, channels=32, depth=2, heads=2, everywhere=(1,), window=3, prompt_channels=32, mlp=32,
               hidden=32).eval()


@pytest.fixture(scope="module")
def features(model: Sam) -> Tensor:
    with torch.no_grad():
        return model.image_encoder(torch.randn(3, 3, 64, 64))


@torch.no_grad()
def test_prompts_of_any_length_on_any_image_are_as_if_alone(model: Sam, features: Tensor):
    """Three prompts of 1, 3 and 2 clicks, on images 2, 0 and 2."""
    points, image_of = torch.rand(3, 3, 2) * 64, torch.tensor([2, 0, 2])
    labels = torch.tensor([[1, -2, -2], [1, 0, 1], [0, 1, -2]])
    logits, iou = model.decode(features, points, labels, image_of=image_of)
    for n, count in enumerate((1, 3, 2)):
        alone = model.decode(features[image_of[n], None], points[n, None, :count], labels[n, None, :count])
        torch.testing.assert_close((logits[n, None], iou[n, None]), alone, rtol=1e-4, atol=1e-5)
    shifted, _ = model.decode(features, points, labels.clamp(min=-1), image_of=image_of)
    assert not torch.allclose(shifted[0], logits[0], atol=1e-4)  # a filling point is a token, an absent one is none


@torch.no_grad()
def test_one_of_each_and_all_of_one(model: Sam, features: Tensor):
    points, labels = torch.rand(3, 2, 2) * 64, torch.ones(3, 2, dtype=torch.int64)
    paired = model.decode(features, points, labels)
    told = model.decode(features, points, labels, image_of=torch.arange(3))
    torch.testing.assert_close(paired, told)
    one, _ = model.decode(features[:1], points, labels)
    torch.testing.assert_close(one[0], paired[0][0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one[1], paired[0][1], atol=1e-4)


@pytest.mark.parametrize(("given", "said"), [
    (dict(points=torch.zeros(1, 1, 2)), "belong together"),
    (dict(points=torch.zeros(1, 1, 3), labels=torch.ones(1, 1)), "Points are"),
    (dict(boxes=torch.zeros(2, 3)), "Boxes are"),
    (dict(boxes=torch.zeros(2, 4), masks=torch.zeros(1, 1, 32, 32)), "as many"),
    (dict(boxes=torch.zeros(2, 4)), "image_of"),
    (dict(boxes=torch.zeros(2, 4), image_of=torch.tensor([0, 3])), "image_of"),
])
def test_prompts_that_do_not_fit(model: Sam, features: Tensor, given: dict, said: str):
    with pytest.raises(ModelError, match=said):
        model.decode(features, **given)


def test_sizes_that_do_not_fit(model: Sam):
    with pytest.raises(ModelError, match="takes images"):
        model(torch.zeros(1, 3, 64, 48))
    with pytest.raises(ModelError, match="patches"):
        Sam(size=60, patch=8)
    with pytest.raises(ModelError, match="vit_b"):
        hub.build("sam", size="huge")


@torch.no_grad()
def test_rows_of_queries_equal_all_at_once():
    """Also where the rows do not divide the grid."""
    attention = ImageAttention(16, 2, (ROWS // 16 + 5, 16))
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        table.normal_()
    x = torch.randn(2, ROWS // 16 + 5, 16, 16)
    torch.testing.assert_close(attention(x), attention.literal(x), rtol=1e-4, atol=1e-5)


def test_windows_come_back_to_their_places():
    x = torch.randn(2, 5, 7, 4, 3)
    torch.testing.assert_close(in_windows(lambda w: w + 1, x, 3), x + 1)
    seen: list[Tensor] = []
    in_windows(lambda w: seen.append(w) or w, x, 3)
    assert seen[0].shape == (2 * 2 * 3 * 2, 3, 3, 3, 3)
    torch.testing.assert_close(seen[0][0], x[0, :3, :3, :3])


def picture() -> np.ndarray:
    """A bright disc and a grey square on black."""
    image = np.zeros((60, 90), np.uint8)
    rows, columns = np.mgrid[:60, :90]
    image[(rows - 20) ** 2 + (columns - 25) ** 2 < 150] = 255
    image[35:50, 60:80] = 120
    return image


def test_predictor_before_an_image_and_without_a_prompt(model: Sam):
    predictor = SamPredictor(model)
    with pytest.raises(ModelError, match="set_image"):
        predictor.predict(Prompts.of(2).click((1, 1)))
    predictor.set_image(picture())
    with pytest.raises(PromptError, match="no prompt"):
        predictor.predict(Prompts.of(2))
    with pytest.raises(PromptError, match="outside"):
        predictor.predict(Prompts.of(2).click((95, 20)))
    with pytest.raises(PromptError, match="mask prompt"):
        predictor.predict(Prompts.of(2).click((1, 1)), mask=torch.zeros(7, 7))


def test_predictor_asks_for_three_masks_where_a_click_may_mean_several_things(model: Sam):
    predictor = SamPredictor(model)
    predictor.set_image(picture())
    one = Prompts.of(2).click((25, 20))
    found = predictor.predict(one)
    assert found.masks.shape == (3, 60, 90) and found.low.shape == (3, 32, 32) and found.iou.shape == (3,)
    assert torch.equal(found.mask, found.masks[found.iou.argmax()])
    assert len(predictor.predict(one.click((70, 40), positive=False)).masks) == 1
    assert len(predictor.predict(one, found.low[0]).masks) == 1


def test_the_image_is_encoded_once(model: Sam, monkeypatch: pytest.MonkeyPatch):
    calls = []
    predictor, forward = SamPredictor(model), model.image_encoder.forward
    monkeypatch.setattr(model.image_encoder, "forward", lambda x: calls.append(1) or forward(x))
    predictor.set_image(picture())
    for x in (10, 20, 30):
        predictor.predict(Prompts.of(2).click((x, 20)))
    assert len(calls) == 1


class Looking(SamPredictor):
    """Answers from the picture itself: around a point, what is as bright, the second mask of three, is sure."""

    def __init__(self, model: Sam):
        super().__init__(model)
        self.model = self

    image_encoder = property(lambda self: None)

    def set_image(self, image: np.ndarray) -> None:
        from fmlab.interactive.preprocess_sam import framed
        self.frame, self.image = framed(*image.shape[:2], 64), torch.from_numpy(image).float()
        self.features = torch.zeros(1)
        small = torch.nn.functional.interpolate(self.image[None, None], self.frame.inner, mode="nearest-exact")[0, 0]
        self.seen = torch.full((64, 64), -1.0)
        self.seen[: small.shape[0], : small.shape[1]] = small

    def decode(self, features: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x, y = points[:, 0].long().clamp(max=63).unbind(1)
        like = (self.seen[None] == self.seen[y, x][:, None, None]) & (self.seen[y, x] > 0)[:, None, None]
        logits = torch.where(like, 8.0, -8.0)[:, None].expand(-1, 3, -1, -1).contiguous()
        return logits, torch.tensor([[0.2, 0.95, 0.5]]).expand(len(points), -1)


def test_everything_finds_each_object_once(model: Sam):
    found = everything(Looking(model), picture(), Settings(points=16, stability=0.5))
    assert len(found) == 2 and found.masks.shape[1:] == (60, 90)
    for truth in (picture() == 255, picture() == 120):
        overlap = [float((m.numpy() & truth).sum() / (m.numpy() | truth).sum()) for m in found.masks]
        assert max(overlap) > 0.8
    assert set(found.labels().unique().tolist()) == {0, 1, 2}
    assert all(bool(mask[int(y), int(x)]) for mask, (x, y) in zip(found.masks, found.points))


def test_everything_drops_the_unsure_and_the_unstable(model: Sam):
    assert len(everything(Looking(model), picture(), Settings(points=8, iou=0.96))) == 0
    assert len(everything(Looking(model), picture(), Settings(points=8, stability=0.999, offset=7.9))) == 0
    with pytest.raises(ModelError, match="asks for nothing"):
        everything(Looking(model), picture(), Settings(points=0))


def test_crops_find_them_too(model: Sam):
    found = everything(Looking(model), picture(), Settings(points=16, stability=0.5, layers=1))
    assert 2 <= len(found) <= 4
    covered = np.zeros((60, 90), bool)
    for layer, (x0, y0, x1, y1) in automatic.crops((60, 90), 1, 512 / 1500):
        covered[y0:y1, x0:x1] |= layer == 1
    assert covered.all()


def test_overlapping_boxes_keep_the_surest():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    assert automatic.suppressed(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.7).tolist() == [1, 2]
    assert automatic.suppressed(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.95).tolist() == [1, 2, 0]


def test_tidy_fills_holes_and_drops_islands():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[2:12, 2:12] = True
    mask[5, 5] = False
    mask[16, 16] = True
    tidied = automatic.tidy(mask, 4)
    assert bool(tidied[5, 5]) and not bool(tidied[16, 16]) and int(tidied.sum()) == 100
    assert torch.equal(automatic.tidy(mask & (torch.arange(20) > 14), 9), mask & (torch.arange(20) > 14))  # never the last one

"""The crowd, what heals its mistakes, masks of whole volumes, coverage, the next slice, and five minutes against the clock."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab import metrics
from fmlab.errors import PromptError
from fmlab.interactive import crowd, next_slice
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.effort import Pace
from fmlab.interactive.pictures import drawn, grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.interactive.sliced import SliceAnswers, SlicedVolume
from fmlab.lessons import crowd_figures, crowd_nets, five_minutes
from fmlab.viewer import Answer, Canvas
from fmlab.vocabulary import ID
from fmlab.volume import Volume


@pytest.fixture
def body() -> Volume:
    """40 x 32 x 30 voxels: a liver in slices 5 to 24 and a spleen in slices 8 to 17."""
    image = torch.zeros(1, 40, 32, 30)
    labels = torch.zeros(1, 40, 32, 30, dtype=torch.uint8)
    labels[:, 22:36, 10:24, 5:25] = ID["liver"]
    labels[:, 4:12, 6:14, 8:18] = ID["spleen"]
    image[labels > 0] = 80
    names = frozenset({"liver", "spleen"})
    return Volume(image, np.diag([4.0, 4.0, 4.0, 1.0]), labels=labels, annotated=names, modality="CT", name="blocks")


@pytest.fixture
def model() -> Sam:
    torch.manual_seed(3)
    return Sam(size=64, patch=8, channels=32, depth=2, heads=2, everywhere=(1,), window=3, prompt_channels=32, decoder_heads=2,
               mlp=32, hidden=32).eval()


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- people

def test_without_mistakes_every_slice_has_its_tight_box(body):
    boxes = crowd.Person("perfect").boxes(body, "liver", rng())
    assert list(boxes) == list(range(5, 25))
    assert all(torch.equal(box, tight_box(drawn(body, "liver", "axial", k))) for k, box in boxes.items())


def test_a_person_makes_her_mistakes_as_often_as_she_is_said_to(body):
    drew = [crowd.Person("forgets", missed=0.4).boxes(body, "liver", rng(seed)) for seed in range(50)]
    assert np.mean([len(boxes) for boxes in drew]) == pytest.approx(12, abs=1)
    assert list(crowd.Person("stops early", ends=0.2).boxes(body, "liver", rng())) == list(range(9, 21))
    spleen = tight_box(drawn(body, "spleen", "axial", 10))
    boxes = crowd.Person("confuses", wrong=1.0).boxes(body, "liver", rng(), ("liver", "spleen"))
    assert sum(torch.equal(box, spleen) for box in boxes.values()) == 10  # in all slices that show one
    assert len(boxes) == 20
    sides = torch.stack(list(crowd.Person("shakes", noise=0.1).boxes(body, "liver", rng()).values()))
    assert 0.8 < float(sides.std(0).mean()) < 2.0  # a tenth of 14


def test_the_same_seed_gives_the_same_boxes(body):
    first, again, other = (crowd.UNSURE.boxes(body, "liver", rng(seed), crowd.ORGANS) for seed in (1, 1, 2))
    assert first.keys() == again.keys() and all(torch.equal(first[k], again[k]) for k in first)
    assert first.keys() != other.keys() or not all(torch.equal(first[k], other[k]) for k in first)


def test_a_share_is_from_0_to_1_and_the_structure_has_to_be_there(body):
    with pytest.raises(PromptError, match="missed=1.5"):
        crowd.Person("odd", missed=1.5)
    with pytest.raises(PromptError, match="does not show"):
        crowd.EXPERT.boxes(body, "kidney_left", rng())


def test_interpolation_goes_from_neighbour_to_neighbour_and_not_beyond():
    box = torch.tensor([0.0, 10, 20, 30])
    filled = crowd.interpolated({4: box, 8: box + 4, 9: box})
    assert list(filled) == [4, 5, 6, 7, 8, 9]
    assert filled[5].tolist() == [1, 11, 21, 31]
    assert torch.equal(filled[9], box) and crowd.interpolated({}) == {}


# ---- volumes

def test_masks_lie_where_the_predictor_has_them(body, model):
    sliced, predictor = SlicedVolume(model, body), SamPredictor(model)
    boxes = crowd.Person("perfect").boxes(body, "liver", rng())
    mask = sliced.mask(boxes)
    assert 0 < mask.sum() < mask.size and not mask[:, :, :5].any()
    for k in (5, 22):
        predictor.set_image(grey(body, "axial", k))
        one = predictor.predict(Prompts(torch.zeros(0, 2), torch.zeros(0), boxes[k])).mask.numpy()
        assert (mask[:, :, k] != one[::-1].T).mean() < 0.01  # rounding, of another batch
    assert not sliced.mask({}).any()


class Fills(SlicedVolume):
    """Answers each box with the box itself, where the structure is; sure of it up to slice 20."""

    def answers(self, boxes):
        truth = [torch.from_numpy(drawn(self.volume, "liver", "axial", k)) for k in boxes]
        iou = torch.tensor([0.9 if k < 20 else 0.2 for k in boxes])
        return SliceAnswers(tuple(boxes), torch.stack(truth).float() - 0.5, iou)


def test_following_goes_on_while_the_model_is_sure_and_finds_something(body, model):
    sliced = Fills(model, body)
    boxes = sliced.followed({12: tight_box(drawn(body, "liver", "axial", 12))})
    assert list(boxes) == list(range(4, 21))  # slice 4 is empty, slice 20 is not trusted: both are asked, and no further ones
    assert torch.equal(boxes[13], tight_box(drawn(body, "liver", "axial", 12)) + torch.tensor([-1.0, -1, 1, 1]))
    assert sliced.followed({}) == {}


def test_coverage_and_dice_of_a_volume():
    truth = np.zeros((6, 6, 8), bool)
    truth[1:5, 1:5, 2:8] = True
    found = truth.copy()
    found[:, :, 5:] = False
    found[0, 0, 0] = True
    scores = slice_scores(found, truth)
    assert scores.coverage == 0.5 and scores.answered_dice == 1.0
    assert scores.volume_dice == pytest.approx(metrics.dice(found, truth))
    assert np.isnan(slice_scores(~truth & truth, ~truth & truth).volume_dice)
    with pytest.raises(PromptError, match="shapes"):
        slice_scores(found, truth[:5])


# ---- the next slice

def test_policies_never_ask_for_what_is_done():
    answers = SliceAnswers(tuple(range(6)), torch.randn(6, 5, 5), torch.tensor([0.1, 0.5, 0.4, 0.3, 0.9, 0.2]))
    done = np.array([True, False, False, True, False, True])
    chosen = {what: policy(answers, done, rng()) for what, policy in next_slice.POLICIES.items()}
    assert all(not done[k] for k in chosen.values())
    assert chosen["predicted IoU"] == 2
    assert next_slice.evenly(answers, np.array([True, False, False, False, False, True]), rng()) == 2


def test_annotating_begins_at_the_ends_and_stops_where_all_is_done(body, model):
    sliced, truth = SlicedVolume(model, body), body.mask("spleen").numpy()
    boxes = crowd.Person("perfect").boxes(body, "spleen", rng())
    ends = crowd.interpolated({8: boxes[8], 17: boxes[17]})
    dices = next_slice.annotate(sliced, truth, boxes, next_slice.evenly, 14, rng())
    assert len(dices) == 13
    assert dices[0] == pytest.approx(slice_scores(sliced.mask(ends), truth).volume_dice)
    assert dices[-1] == pytest.approx(slice_scores(sliced.mask(boxes), truth).volume_dice)


# ---- the clock

def test_seconds_are_added_up():
    assert Pace(box=7, click=2, turn=1, outline=79).seconds(boxes=2, clicks=3, turns=4, outlines=1) == 14 + 6 + 4 + 79


def fill_box(request):
    mask = np.zeros(request.image.shape, bool)
    if request.box is not None:
        (top, left), (bottom, right) = request.box
        mask[top:bottom, left:right] = True
    return Answer(mask, 0.5)


def test_a_recording_tells_what_each_structure_cost(body):
    played = five_minutes.recorded(crowd.Person("perfect"), body, ("liver", "spleen"), Pace(), minutes=1, every=2)
    assert played["events"] and max(event["t"] for event in played["events"]) <= 60
    canvas = Canvas(body, fill_box, ("liver", "spleen"), autosave=False)
    canvas.replay(played)
    rows = {row.name: row for row in five_minutes.report(played, canvas, body)}
    assert rows["liver"].boxes == 5 and rows["spleen"].boxes == 2  # slices 5, 7 ... 13, and 9 and 11, or a second earlier
    assert rows["liver"].coverage == 5 / 20 and rows["liver"].answered_dice == 1.0
    assert sum(row.seconds for row in rows.values()) == pytest.approx(played["events"][-1]["t"])
    found = five_minutes.boxes_of(canvas, "liver")
    assert all(torch.equal(box, tight_box(drawn(body, "liver", "axial", k))) for k, box in found.items()) and len(found) == 5


def test_what_comes_after_time_is_up_does_not_count():
    events = [{"t": 10.0, "do": "box", "class": "a"}, {"t": 12.0, "do": "undo"}, {"t": 301.0, "do": "point", "class": "b"}]
    cut = five_minutes.within({"events": events, "version": 1}, minutes=5)
    assert len(cut["events"]) == 2 and cut["version"] == 1
    seconds, counts = five_minutes.spent(cut)
    assert seconds == {"a": 12.0} and counts == {"a": [1, 0]}
    assert five_minutes.in_time({"events": events, "version": 1}) == cut
    assert five_minutes.in_time({"events": events[2:], "version": 1}) == five_minutes.stored()


def test_the_stored_recording_fits_the_lessons_body():
    played = five_minutes.stored()
    assert played["classes"] == list(crowd.ORGANS) and "simulated" in played["by"]
    assert len({event["class"] for event in played["events"]}) == 4 and played["events"][-1]["t"] <= 300


# ---- nets and figures

def test_a_slice_that_was_missed_teaches_that_nothing_is_there(body):
    labels = body.mask("liver").numpy().copy()
    labels[:, :, 15:] = False
    pairs = crowd_nets.pairs([body], [labels], "liver", count=6, beyond=2, size=32)
    assert pairs.images.shape == (6, 1, 32, 32)
    assert [bool(mask.any()) for mask in pairs.masks] == [False, True, True, False, False, False]  # slices 3, 8, 12, 17, 22, 26


def test_net_dice_is_of_the_whole_volume(body):
    class Bright(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x - 0.55

    both = crowd_nets.net_dice(Bright(), body, "liver", size=40)
    liver, spleen = 14 * 14 * 20, 8 * 8 * 10
    assert both == pytest.approx(2 * liver / (2 * liver + spleen), abs=0.02)


def test_figures_say_what_they_show():
    picture = crowd_figures.choice_curves({"evenly spaced": np.array([0.5, 0.7, 0.75])})
    assert "0.50" in picture.alt and "0.75" in picture.alt
    assert "20% left out -0.10" in crowd_figures.effect_by_missed([{"effect": {"as they come": 0.1, "missed 0.2": -0.1}}]).alt
    assert "no run yet" in crowd_figures.effect_by_missed([]).alt

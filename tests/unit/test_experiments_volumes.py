"""C03 and C10: how clicks are shared out over slices, what a cut-out is, what the effects mean; both run at a tiny size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab import hub
from fmlab.errors import PromptError
from fmlab.interactive import nano
from fmlab.interactive.clicking import AskVolume
from fmlab.interactive.predictor import Masks
from fmlab.lessons import claims, judged
from fmlab.lessons.experiments import c03, c10
from fmlab.lessons.slice_by_slice import SliceBySlice, between, inner_half, spread
from fmlab.viewer import Request
from fmlab.vocabulary import ID
from fmlab.volume import Volume


def bright(low=(6, 5, 4), high=(18, 15, 14), shape=(24, 20, 22), name="liver"):
    """A body of water, with a bright box in it, drawn as a structure; voxels of 4 mm. Not symmetric, so that flips show."""
    labels = torch.zeros(1, *shape, dtype=torch.uint8)
    labels[0, low[0]:high[0], low[1]:high[1], low[2]:high[2]] = ID[name]
    labels[0, low[0], low[1]:high[1] - 3, low[2]:high[2]] = 0
    image = torch.where(labels > 0, 300.0, 0.0) - 5 * torch.rand(labels.shape, generator=torch.Generator().manual_seed(0))
    image[:, 0] = -1000  # air
    return Volume(image, np.diag([4.0, 4, 4, 1]), labels=labels, annotated=frozenset([name]), name="body")


class SeesTheBright:
    """A predictor whose masks are what is bright, if the last click lies in it or is negative; and which counts."""

    def __init__(self):
        self.images, self.asked, self.frame = 0, [], None

    def set_image(self, image):
        self.features, self.images = torch.from_numpy(image.astype(np.float32)), self.images + 1

    def predict(self, prompts, mask=None):
        x, y = prompts.points[-1].int().tolist()
        self.asked.append((x, y, int(prompts.labels[-1])))
        here = self.features > 200
        logits = torch.where(here & bool(here[y, x] or prompts.labels[-1] == 0), 1.0, -1.0)
        return Masks(logits[None], torch.ones(1), logits[None])


def segmented(count, carried, volume=None):
    body, predictor = volume or bright(), SeesTheBright()
    truth = body.mask("liver").numpy()
    return SliceBySlice(predictor, body).segment(truth, count, np.random.default_rng(0), carried), truth, predictor


@pytest.mark.parametrize("count", [1, 3, 10])
def test_clicked_slices_are_right_and_the_others_empty(count):
    found, truth, predictor = segmented(count, carried=False)
    assert found.any((0, 1)).sum() == count == predictor.images == len(predictor.asked)
    assert not (found & ~truth).any()
    assert np.array_equal(found[:, :, found.any((0, 1))], truth[:, :, found.any((0, 1))])


def test_carried_clicks_reach_every_slice_that_shows_the_structure():
    found, truth, predictor = segmented(3, carried=True)
    assert np.array_equal(found, truth)
    assert len(predictor.asked) == truth.any((0, 1)).sum() == 10


def test_more_clicks_than_slices_are_corrections():
    _, truth, predictor = segmented(24, carried=False)
    assert len(predictor.asked) == 24 and predictor.images == 10  # two in each slice, and three in four of them


def test_clicks_are_in_the_middles_of_equal_parts_and_carried_ones_between_them():
    assert spread(np.arange(10, 20), 2).tolist() == [12, 17]
    assert spread(np.arange(10), 10).tolist() == list(range(10)) and spread(np.arange(3), 0).tolist() == []
    first = {4: np.array([0.0, 10.0]), 8: np.array([4.0, 30.0])}
    assert between(first, 5).tolist() == [1.0, 15.0] and between(first, 2).tolist() == [0.0, 10.0]


def test_whoever_is_content_confirms():
    mask = np.zeros((6, 6), dtype=bool)
    mask[2:4, 1:5] = True
    click = inner_half(mask, mask, np.random.default_rng(0))
    assert click.labels.tolist() == [1] and mask[int(click.points[0, 1]), int(click.points[0, 0])]


def test_the_better_flat_way_counts_person_by_person():
    def person(alone, carried, solid):
        return {"liver": {c03.FLAT[0]: [0.0, alone], c03.FLAT[1]: [0.0, carried], "3-D": [1.0, solid], c03.EVERY: [1.0, 40]}}

    found = c03.effects({"one": person(0.2, 0.5, 0.6), "two": person(0.7, 0.5, 0.6)})
    assert found == pytest.approx({"one": 0.1, "two": -0.1})


def test_the_smaller_of_both_differences_counts():
    def person(net, cut, whole):
        return {"liver": {c10.NET: [net, net], c10.CUT: [cut, 0.0], c10.WHOLE: [whole, 0.0], c10.CUBE: [0.0, 0.0]}}

    values, means = c10.differences({"one": person(0.8, 0.7, 0.5), "two": person(0.8, 0.9, 0.5)})
    assert values == pytest.approx({"one": 0.2, "two": 0.3}) and means == pytest.approx([0.3, 0.3])


def test_a_cut_out_is_about_the_middle_of_the_truth_and_ends_with_the_scan():
    body = bright(shape=(60, 60, 60), low=(30, 20, 2), high=(40, 26, 8))
    here, cut = judged.cut_about(body, body.mask("liver"), mm=80)
    assert here == (slice(25, 45), slice(13, 33), slice(0, 15)) and cut.shape == (20, 20, 15)
    assert int(cut.mask("liver").sum()) == int(body.mask("liver").sum())
    assert np.allclose(cut.world((0, 0, 0)), body.world((25, 13, 0)))


def test_edits_that_look_at_the_truth_are_never_worse():
    truth = np.zeros((12, 12, 12), dtype=bool)
    truth[1:4, 1:4, 1:4] = True
    found = truth.copy()
    found[6:11, 6:11, 6:11] = True  # a false piece, larger than the right one
    dices = judged.edits(found, truth)
    assert dices["largest piece"] == 0 and dices["piece that fits best"] == 1
    assert dices["edited where it helps"] == dices["as it is"] == pytest.approx(2 * 27 / (27 + 125 + 27))
    assert not judged.best_piece(~truth & found, truth).any()


class Right:
    """Whatever is asked, the answer is right; it keeps what it was asked."""

    def __init__(self, truth):
        self.truth, self.asked = truth, []

    def __call__(self, prompts):
        self.asked.append(prompts)
        return self.truth


def test_the_first_click_is_the_given_one():
    truth = bright().mask("liver").numpy()
    ask, first = Right(truth), inner_half(np.zeros_like(truth), truth, np.random.default_rng(1))
    assert c10.after(ask, truth, first, (1, 3), seed=0) == [1.0, 1.0]
    assert all(torch.equal(prompts.points[0], first.points[0]) for prompts in ask.asked)


def test_a_canvas_gets_a_mask_in_3d_and_nothing_before_the_first_positive_click():
    body, model = bright(), hub.build("sam_med3d", size="nano").eval()
    ask = judged.ask_volume(model, body)
    image = body.image[0].numpy()
    nothing = ask(Request("liver", "axial", 3, image, np.array([[3, 4, 5]]), np.array([0])))
    some = ask(Request("liver", "axial", 3, image, np.array([[3, 4, 5], [9, 9, 9]]), np.array([0, 1])))
    assert not np.asarray(nothing.mask).any() and np.asarray(some.mask).shape == image.shape
    with pytest.raises(PromptError, match="clicks and no boxes"):
        ask(Request("liver", "axial", 3, image, np.array([[9, 9, 9]]), np.array([1]), np.array([[1, 1, 1], [5, 5, 5]])))


def test_through_shows_the_clicked_slice():
    body = bright()
    truth = body.mask("liver").numpy()
    prompts = judged.Prompts.of(3).click((9, 8, 5))
    fig = judged.through(body, truth, truth, prompts, count=3)
    drawn = [line for ax in fig.axes for line in ax.lines if len(line.get_xdata())]
    assert len(fig.axes) == 3 and len(drawn) == 1
    assert (drawn[0].get_xdata()[0], drawn[0].get_ydata()[0]) == (9, body.shape[1] - 1 - 8)


@pytest.mark.parametrize("experiment", [c03, c10])
def test_runs_from_end_to_end_and_can_be_recorded(experiment, monkeypatch, tmp_path):
    build = {name: hub.build(name, size="nano").eval() for name in ("sam", "sam_med3d")} | {"universal": hub.build("universal")}
    monkeypatch.setattr(experiment.hub, "load", lambda name, weights: build[name])
    monkeypatch.setattr(experiment.nano, "bodies", lambda counts, spacing, first_seed: [bright()])
    run = experiment.run(2, experiment.Setting(clicks=(1, 2), structures=("liver", "spleen")), command="a test")
    assert run.claim == experiment.__name__[-3:].upper() and list(run.values) == ["body"] and run.details["objects"] == 1
    assert all(len(dices) == 2 for dices in run.details["mean"].values())
    claims.record(run, tmp_path)


def test_clicks_in_the_cut_out_and_on_the_scan_are_the_same_place(monkeypatch):
    body, told = bright(shape=(60, 40, 40), low=(40, 20, 20), high=(52, 30, 30)), {}
    monkeypatch.setattr(AskVolume, "__call__", lambda self, prompts: told.setdefault(
        self.volume.volume.shape, prompts) and np.zeros(self.volume.volume.shape, dtype=bool))
    c10.rows(hub.build("sam_med3d", size="nano"), body, body, c10.Setting(clicks=(1,), structures=("liver",)), 0)
    (here, cut), inner, outer = judged.cut_about(body, body.mask("liver")), *(told[s] for s in sorted(told))
    assert cut.shape == min(told) and nano.SIDE * nano.COARSE == 192
    assert torch.equal(inner.points + torch.tensor([s.start for s in here]), outer.points)


def test_places_of_volume_attention_as_meant_are_about_the_query_and_as_published_blind_for_i():
    meant, published = (judged.by_place_alone((2, 5, 4), textbook) for textbook in (True, False))
    assert np.unravel_index(int(meant.argmax()), meant.shape) == (2, 5, 4)
    assert torch.allclose(published, published[:1].expand_as(published), atol=1e-7) and not torch.allclose(meant[0], meant[2])
    assert float(meant.sum()) == pytest.approx(1) == float(published.sum())


def test_tables_have_a_mean_where_rows_name_their_columns():
    text = judged.table({"liver": {"cut": 0.8, "whole": 0.6}, "spleen": {"cut": 0.4, "whole": 0.2}}).splitlines()
    assert text[0].split() == ["cut", "whole"] and text[-1].split() == ["mean", "0.60", "0.40"]
    assert judged.table({"3-D": [0.1, 0.25]}, (1, 10), "seed 0").splitlines()[1].split() == ["3-D", "0.10", "0.25"]
    long = judged.table({"liver": {"one cube about the click": 0.8, "whole scan": 0.6}}, corner="Dice").splitlines()
    assert max(map(len, long)) <= 26 + 2 * 16 and len({len(line) for line in long}) == 1
    assert long[0].split() == ["one", "cube", "about"] and long[1].split() == ["Dice", "the", "click", "whole", "scan"]


def test_after_clicks_asks_once_a_click():
    truth = bright().mask("liver").numpy()
    ask = Right(truth)
    assert np.array_equal(judged.after_clicks(ask, truth, 3), truth)
    assert [len(prompts.points) for prompts in ask.asked] == [1, 2, 3]

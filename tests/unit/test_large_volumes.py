"""Clicks on whole volumes: objects larger than a cube, several classes, clicks in mm, and the volume's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from threshold_model import OBLIQUE
from torch import nn

from fmlab.errors import PromptError, PromptWarning, ScanError, VocabularyError
from fmlab.interactive.large_volumes import LargeVolume
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam_med3d import SIZES, SamMed3D
from fmlab.vocabulary import ID
from fmlab.volume import Volume


class Flood(nn.Module):
    """A stand-in for a trained model: marks the bright piece of its cube that the last positive click lies in.

    As the cube is its feature, it marks nothing in the cubes next to this one, as no model does.
    """

    def __init__(self, side: int = 8):
        super().__init__()
        self.size, self.image_encoder = side, nn.Identity()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls: list[tuple[int, int]] = []  # prompts, points

    def no_mask(self, prompts: int = 1) -> torch.Tensor:
        return torch.zeros(prompts, 1, *(self.size,) * 3)

    def decode(self, features, points, labels, masks):
        self.calls.append(tuple(labels.shape))
        pieces, _ = ndimage.label(features[0, 0].numpy() > 0)
        found = torch.full((len(points), 1, *(self.size,) * 3), -3.0)
        for n, (where, what) in enumerate(zip(points, labels)):
            index = tuple(where[what == 1][-1].round().long().tolist())
            found[n, 0][torch.from_numpy((pieces == pieces[index]) & (pieces > 0))] = 3.0
        return found, torch.zeros(len(points), 1)


def boxes(shape=(30, 20, 17), where=(slice(3, 26), slice(4, 9), slice(3, 7)), affine=None) -> Volume:
    """An object of value 1 in -1; longer than three cubes of 8."""
    image = torch.full(shape, -1.0)
    image[where] = 1
    return Volume(image[None], np.eye(4) if affine is None else affine, modality="other")


def clicks(*points, labels=None, unit="voxel") -> Prompts:
    return Prompts(torch.tensor(points, dtype=torch.float32), torch.tensor(labels or [1] * len(points)), unit=unit)


def large(volume, **options) -> LargeVolume:
    return LargeVolume(Flood(), volume, **({"spacing": 1.0, "values": torch.nn.Identity(), "fill": -1.0} | options))


@pytest.mark.parametrize("at", [(4, 5, 4), (25, 8, 6), (14, 6, 5)])
def test_an_object_larger_than_the_cube(at):
    volume = boxes()
    session = large(volume)
    labels = session.predict({"liver": clicks(at)})
    assert labels.dtype is torch.uint8 and torch.equal(labels.bool(), volume.image[0] > 0)
    assert 4 <= len(session._features) <= 24  # cubes follow the object; 5 x 4 x 3 or more would cover the volume


def test_a_bend_is_followed_and_another_piece_is_not():
    volume = boxes()
    image = volume.image.clone()
    image[0, 3:6, 4:18, 3:7] = 1  # a bend
    image[0, 10:14, 14:18, 10:15] = 1  # not connected
    bent = Volume(image, np.eye(4), modality="other")
    labels = large(bent).predict({"liver": clicks((24, 6, 5))})
    wanted = image[0] > 0
    wanted[10:14, 14:18, 10:15] = False
    assert torch.equal(labels.bool(), wanted)
    both = large(bent).predict({"a": clicks((24, 6, 5)), "b": clicks((12, 15, 12))})
    assert (both[wanted] == 1).all() and (both[10:14, 14:18, 10:15] == 2).all() and (both > 0).sum() == (image > 0).sum()


def test_a_cube_that_somebody_clicked_in_outweighs_those_that_follow():
    """A model that denies everything from its second call on: what the clicked cube says stays, but at its very edge."""
    class Fickle(Flood):
        def decode(self, *given):
            found, iou = super().decode(*given)
            return (found, iou) if len(self.calls) == 1 else (torch.full_like(found, -3.0), iou)

    image = torch.full((16, 8, 8), -1.0)
    image[:, 3:6, 3:6] = 1  # a bar through both cubes
    session = LargeVolume(Fickle(), Volume(image[None], np.eye(4), modality="other"), 1.0, torch.nn.Identity(), -1.0)
    found = session.predict({"bar": clicks((2, 4, 4))})
    assert len(session.model.calls) > 1 and found[:7, 4, 4].all() and not found[8:].any()


def test_classes_of_a_cube_share_a_call_and_a_cube_is_encoded_once():
    image = torch.full((8, 8, 8), -1.0)
    image[1:3], image[5:7] = 1, 1
    session = large(Volume(image[None], np.eye(4), modality="other"))
    asked = {"a": clicks((1, 4, 4)), "b": clicks((5, 4, 4), (6, 4, 4)), "c": clicks((6, 2, 4))}
    labels = session.predict(asked)
    assert session.model.calls == [(3, 1), (1, 2)]  # three prompts at once, then the one with a second click
    assert (labels[1:3] == 1).all() and (labels[5:7] == 2).all() and labels[3:5].max() == 0  # of equals the first
    features = session.features((0, 0, 0))
    session.predict(asked)
    assert session.features((0, 0, 0)) is features and len(session._features) == 1


def test_a_further_click_costs_one_decoding_and_changes_what_a_fresh_session_gives_in_no_way():
    image = torch.zeros(8, 8, 8)
    image[1:7, 2:6, 2:6] = 1
    volume = Volume(image[None], np.eye(4), modality="other")
    session, places = large(volume), [(1, 4, 4), (5, 4, 4), (3, 3, 3), (6, 2, 4)]
    for n in range(1, 5):
        before = len(session.model.calls)
        asked = {"a": clicks(*places[:n])}
        found = session.logits(asked)
        assert session.model.calls[before:] == [(1, n)]
        assert torch.equal(found, large(volume).logits(asked))
    session.logits({"a": clicks(*places[:2])})  # one taken back
    assert len(session.model.calls) == 4
    session.logits({"a": clicks(places[0], places[2])})
    assert session.model.calls[4:] == [(1, 2)]


def test_clicks_far_apart_open_their_own_cubes():
    volume = boxes(where=(slice(2, 5), slice(4, 9), slice(3, 7)))
    image = volume.image.clone()
    image[0, 22:25, 4:9, 3:7] = 1
    labels = large(Volume(image, np.eye(4), modality="other")).predict({"kidneys": clicks((3, 6, 5), (23, 6, 5))})
    assert torch.equal(labels.bool(), image[0] > 0)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([2.0, 1.5, 3, 1]), OBLIQUE], ids=["unit", "anisotropic", "oblique"])
def test_clicks_in_mm_mean_the_same_place(affine):
    volume = boxes(affine=affine)
    voxel, spacing = clicks((14, 6, 5), (20, 6, 4)), float(np.mean(volume.spacing))
    in_mm = large(volume, spacing=spacing).predict({"liver": voxel.to_mm(volume.affine)})
    assert in_mm.any() and torch.equal(in_mm, large(volume, spacing=spacing).predict({"liver": voxel}))


def test_back_on_the_volume_s_own_grid():
    where = (slice(8, 40), slice(8, 24), slice(6, 14))
    volume = boxes((48, 40, 20), where, np.diag([1.0, 1, 2, 1]))
    labelled = large(volume, spacing=2.0).segment({"spleen": clicks((20, 15, 9))})
    assert labelled.shape == volume.shape and np.array_equal(labelled.affine, volume.affine)
    assert labelled.annotated == {"spleen"} and labelled.labels.unique().tolist() == [0, ID["spleen"]]
    truth, found = volume.image[0] > 0, labelled.mask("spleen")
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.97


@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 30, 8), (9, 3, 20)])
def test_volumes_smaller_than_a_cube(shape):
    volume = boxes(shape, (slice(1, None), slice(1, -1), slice(1, -1)))
    session = large(volume)
    labels = session.predict({"liver": clicks((2, 1, 2))})
    assert torch.equal(labels.bool(), volume.image[0] > 0)
    assert all(session.features(start).shape == (1, 1, 8, 8, 8) for start in session._features)


def test_a_mask_that_leaks_is_cut_with_a_warning():
    volume = boxes((80, 9, 9), (slice(None),) * 3)
    with pytest.warns(PromptWarning, match="beyond .* cubes"):
        labels = large(volume, most=5).predict({"liver": clicks((4, 4, 4))})
    assert labels[:8, :8, :8].all() and not labels[40:].any()


@torch.no_grad()
def test_one_cube_gives_what_the_published_loop_gives():
    torch.manual_seed(0)
    model = SamMed3D(**SIZES["nano"]).eval()
    hu = torch.randn(1, 32, 32, 32) * 900 + 200
    volume = Volume(hu, np.diag([1.5, 1.5, 1.5, 1]))
    points, labels = torch.tensor([[[16.0, 15, 9], [3, 30, 20]]]), torch.tensor([[1, 0]])
    clamped = hu.clamp(-1000, 1000)
    above = clamped[clamped > 0]
    features, logits = model.image_encoder(((clamped - above.mean()) / above.std())[None]), model.no_mask()
    for n in (1, 2):
        logits, _ = model.decode(features, points[:, :n], labels[:, :n], logits)
    session = LargeVolume(model, volume)
    ours = session.logits({"liver": Prompts(points[0], labels[0])})
    assert (ours - logits[0]).abs().max() < 1e-4
    several = session.logits({"one": clicks((5, 5, 5)), "liver": Prompts(points[0], labels[0])})
    assert (several[1] - logits[0]).abs().max() < 1e-4  # a class with fewer clicks beside it changes nothing


@pytest.mark.parametrize(("asked", "error", "words"), [
    ({}, PromptError, "No class"),
    ({"liver": Prompts.of(3)}, PromptError, "'liver' needs one positive click"),
    ({"liver": clicks((4, 5, 4), labels=[0])}, PromptError, "positive click"),
    ({"liver": Prompts(torch.zeros(1, 2), [1])}, PromptError, "3-D"),
    ({"liver": clicks((4, 5, 40))}, PromptError, "outside"),
    ({"liver": clicks((4, 5, -30), unit="mm")}, PromptError, "outside"),
    ({"liver": Prompts(torch.zeros(1, 3), [1], box=torch.ones(6))}, PromptError, "no box"),
])
def test_refused(asked, error, words):
    with pytest.raises(error) as raised:
        large(boxes()).predict(asked)
    assert words in str(raised.value)


def test_refused_names_and_spacing():
    with pytest.raises(VocabularyError):
        large(boxes()).segment({"no such thing": clicks((4, 5, 4))})
    with pytest.raises(ScanError):
        large(boxes(), spacing=0.0)

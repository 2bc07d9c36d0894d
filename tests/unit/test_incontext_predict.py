"""Examples, and from a model to masks: the mean over support sets and flips, classes against each other, slice by slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab import hub
from fmlab.errors import DataError, ModelError, VocabularyError
from fmlab.incontext import material
from fmlab.incontext.examples import Examples, best_slices, examples_of
from fmlab.incontext.prediction import Prediction, predict, predict_volume, probability
from fmlab.vocabulary import ID
from fmlab.volume import Volume

HU = {"liver": 200, "spleen": 40}  # in fat that is black


class LikeTheExamples(torch.nn.Module):
    """Foreground is what is as bright as the middle of the examples' foreground; ``tilt`` adds a slope along the columns."""

    def __init__(self, tilt=0.0):
        super().__init__()
        self.weight, self.tilt, self.calls = torch.nn.Parameter(torch.ones(1)), tilt, []

    def forward(self, query, images, masks, chunk=None):
        self.calls.append((len(query), images.shape[1], chunk))
        level = images[masks.bool()].median()
        slope = torch.linspace(-self.tilt, self.tilt, query.shape[-1])
        return self.weight * (3.6 - 20 * (query - level).abs()) + slope


def examples(levels=(0.2, 0.3, 0.4, 0.5, 0.6), size=8):
    """A square each, of these levels, on black."""
    images, masks = torch.zeros(len(levels), 1, size, size), torch.zeros(len(levels), 1, size, size)
    masks[..., 2:5, 3:6] = 1
    return Examples(images + masks * torch.tensor(levels).view(-1, 1, 1, 1), masks, [f"e{i}" for i in range(len(levels))])


def queries(count=2, size=8):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def scan(name="scan", shape=(13, 18, 11), start=(2, 3, 2)):
    """Unequal voxels, fat, a liver and a spleen in it as boxes."""
    image, labels = torch.full((1, *shape), -200.0), torch.zeros(1, *shape)
    x, y, z = start
    for organ, box in {"liver": (slice(x, x + 5), slice(y, y + 8), slice(z, z + 6)),
                       "spleen": (slice(x + 6, x + 10), slice(y + 2, y + 11), slice(z, z + 7))}.items():
        image[(0, *box)], labels[(0, *box)] = HU[organ], ID[organ]
    return Volume(image, np.diag([6.0, 4.0, 9.0, 1]), labels, frozenset(HU), name=name)


def test_examples_keep_what_belongs_together():
    given = examples()
    assert len(given) == 5 and given.names == ("e0", "e1", "e2", "e3", "e4")
    chosen = given[[3, 0]]
    assert chosen.names == ("e3", "e0") and torch.equal(chosen.images, given.images[[3, 0]])
    assert given[1:3].names == ("e1", "e2") and Examples(given.images, given.masks)[[1]].names == ()
    assert Examples(given.images, given.masks.bool()).masks.dtype is torch.float32
    sets = [given.draw(3, torch.Generator().manual_seed(seed)).names for seed in range(20)]
    assert all(len(set(names)) == 3 for names in sets) and len({frozenset(names) for names in sets}) > 3
    assert sorted(given.draw(9).names) == list(given.names)
    assert sets[4] == given.draw(3, torch.Generator().manual_seed(4)).names


@pytest.mark.parametrize(("change", "said"), [
    (lambda x, y: (x[:, 0], y), "are no examples"), (lambda x, y: (x, y[:2]), "are no examples"),
    (lambda x, y: (x[:0], y[:0]), "There is no example"), (lambda x, y: (x + 1, y), "examples' images run from 1 to"),
    (lambda x, y: (x * torch.nan, y), "nan"), (lambda x, y: (x, y * 0.5), "examples' masks hold other values"),
    (lambda x, y: (x, y, ["one"]), "5 examples have 1 names")])
def test_what_is_no_example_is_refused(change, said):
    given = examples()
    with pytest.raises(ModelError, match=said):
        Examples(*change(given.images, given.masks))


def test_best_slices_are_the_largest_and_apart():
    labels = torch.zeros(1, 12, 12, 40)
    for z in range(10, 30):
        labels[0, : 1 + z % 12, :4, z] = ID["liver"]  # largest at 11 and 23; 20 slices in all, so a tenth of it is 2
    volume = Volume(torch.zeros(1, 12, 12, 40), np.eye(4), labels)
    assert best_slices(volume, "liver", count=2) == [11, 23] and best_slices(volume, "liver") == [11]
    picked = best_slices(volume, "liver", count=50)
    assert min(abs(a - b) for i, a in enumerate(picked) for b in picked[:i]) == 3
    assert best_slices(volume, "liver", "sagittal") == [0] and best_slices(volume, "spleen") == []


def test_examples_of_volumes():
    only = Volume(scan().image, scan().affine, torch.where(scan().labels == ID["spleen"], 0, scan().labels), name="no spleen")
    found = examples_of([scan("a"), only, scan("b")], "spleen", "coronal", size=32, per_volume=2)
    assert found.names == ("a", "a", "b", "b") and found.images.shape == (4, 1, 32, 32)
    inside = found.images[found.masks.bool()]
    assert inside.median().item() == pytest.approx((40 + 175) / 425, abs=1e-4)
    with pytest.raises(DataError, match="None of these volumes shows 'pancreas'"):
        examples_of([scan()], "pancreas")


def test_the_mean_over_support_sets_is_of_probabilities():
    model, given = LikeTheExamples(), examples()
    found = predict(model, queries(), {"it": given}, shots=2, ensemble=3, seed=8)
    generator = torch.Generator().manual_seed(8)
    drawn = [given.draw(2, generator) for _ in range(3)]
    assert len({frozenset(d.names) for d in drawn}) > 1
    each = [torch.stack([model(q[None], d.images[None], d.masks[None]).sigmoid()[0] for q in queries()]) for d in drawn]
    torch.testing.assert_close(found.probabilities, torch.stack(each).mean(0).detach())
    assert found.classes == ("it",) and found.probabilities.shape == (2, 1, 8, 8)
    again, other = (predict(model, queries(), {"it": given}, shots=2, ensemble=3, seed=seed).probabilities for seed in (8, 9))
    assert torch.equal(found.probabilities, again) and not torch.equal(again, other)


def test_one_set_where_there_are_no_more_examples():
    model, given = LikeTheExamples(), examples()
    for shots in (5, 16):
        model.calls.clear()
        found = predict(model, queries(1), {"it": given}, shots=shots, ensemble=4, chunk=3)
        assert model.calls == [(1, 5, 3)]
        torch.testing.assert_close(found.probabilities, probability(model, queries(1), given.images, given.masks))


def test_classes_win_where_they_are_likelier_and_above_a_half():
    p = torch.tensor([[0.4, 0.6, 0.9, 0.5], [0.3, 0.7, 0.2, 0.5]]).view(1, 2, 1, 4)
    found = Prediction(p, ("liver", "spleen"))
    assert found.labels.tolist() == [[[0, 2, 1, 0]]]
    assert found.mask("spleen").tolist() == [[[False, True, False, False]]]
    with pytest.raises(ModelError, match="'colon' was not predicted; there are liver, spleen"):
        found.mask("colon")
    support = {"dark": examples([0.3]), "bright": examples([0.8]), "other": examples([0.5])}
    image = torch.tensor([0.3, 0.8, 0.55, 0.0]).expand(1, 1, 4, 4)
    support = {name: Examples(e.images[..., 2:6, 2:6], e.masks[..., 2:6, 2:6]) for name, e in support.items()}
    assert predict(LikeTheExamples(), image, support, ["bright", "dark"]).labels[0, 0].tolist() == [2, 1, 0, 0]
    assert predict(LikeTheExamples(), image, support).labels[0, 0].tolist() == [1, 2, 3, 0]


def test_flips_are_undone():
    given, image = {"it": examples()}, queries()
    plain = predict(LikeTheExamples(), image, given)
    both = predict(LikeTheExamples(), image, given, tta=["left-right", "up-down"])
    torch.testing.assert_close(plain.probabilities, both.probabilities)  # the model does not mind
    tilted, given = LikeTheExamples(tilt=2), examples()
    views = [probability(tilted, *(x.flip(axes) for x in (image, given.images, given.masks))).flip(axes) for axes in ((), -1, -2)]
    found = predict(tilted, image, {"it": given}, tta=["left-right", "up-down"]).probabilities
    torch.testing.assert_close(found, sum(views) / 3)
    assert (views[0] - views[1]).abs().max() > 0.1


def test_a_real_network_is_asked_one_picture_at_a_time():
    torch.manual_seed(0)
    model = hub.build("universeg", encoder_blocks=[4, 4])
    given = examples()
    found = predict(model, queries(3), {"it": given}, shots=5).probabilities
    context = [x[None].expand(3, -1, -1, -1, -1) for x in (given.images, given.masks)]
    torch.testing.assert_close(found, model(queries(3), *context).sigmoid().detach())
    assert not found.requires_grad


@pytest.mark.parametrize(("options", "said"), [
    ({"classes": ["it", "liver"]}, "no examples of liver"), ({"classes": []}, "no examples of any class"),
    ({"shots": 0}, "shots=0"), ({"ensemble": 0}, "ensemble=0"), ({"tta": ["diagonal"]}, "no flip 'diagonal'")])
def test_what_cannot_be_predicted_is_refused(options, said):
    with pytest.raises(ModelError, match=said):
        predict(LikeTheExamples(), queries(), {"it": examples()}, **options)


def test_what_the_model_refuses_is_refused():
    model, fits = hub.build("universeg", encoder_blocks=[4, 4]), queries(1)
    for image, said in ((fits * 300, "query run from"), (queries(1, 16), "differ in batch or size"), (fits[0], "query has")):
        with pytest.raises(ModelError, match=said):
            predict(model, image, {"it": examples()})
    with pytest.raises(ModelError, match="no examples of any class"):
        predict(model, queries(), {})


@pytest.mark.parametrize("axis", material.AXES)
def test_a_volume_gets_labels_on_its_own_grid(axis):
    volume = scan("query", start=(2, 5, 3))
    support = {name: examples_of([scan(), scan(shape=(15, 20, 12))], name, axis, size=64) for name in ("spleen", "liver")}
    found = predict_volume(LikeTheExamples(), volume, support, axis, progress=False)
    assert found.labels.shape == volume.labels.shape and found.labels.dtype is torch.uint8
    assert found.image is volume.image and np.array_equal(found.affine, volume.affine)
    assert found.annotated == {"liver", "spleen"} and set(found.structures) == {"liver", "spleen"}
    for name in HU:
        a, b = found.mask(name), volume.mask(name)
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85, name
    one = predict_volume(LikeTheExamples(), volume, support, axis, ["liver"], progress=False)
    assert one.structures == ("liver",) and one.annotated == {"liver"}


def test_a_volume_in_no_hu_and_classes_that_nobody_knows():
    volume = Volume(scan().image / 10 + 300, scan().affine, scan().labels, modality="MR")
    support = {"liver": examples_of([volume], "liver", size=32, window=None)}
    found = predict_volume(LikeTheExamples(), volume, support, window=None, progress=False).mask("liver")
    assert 2 * (found & volume.mask("liver")).sum() / (found.sum() + volume.mask("liver").sum()) > 0.8
    with pytest.raises(VocabularyError, match="lver"):
        predict_volume(LikeTheExamples(), volume, {"lver": support["liver"]}, progress=False)
    with pytest.raises(ModelError, match="no examples of any class"):
        predict_volume(LikeTheExamples(), volume, {}, progress=False)

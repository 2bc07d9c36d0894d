"""The law of frequency: concept by concept and in bins, from the published counts, and on our own Zipf cohort (C18)."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from fmlab.errors import DataError
from fmlab.lessons import claims, figure, frequency
from fmlab.lessons.experiments import c18, zipf
from fmlab.vocabulary import ID
from fmlab.volume import Volume

LITTLE = zipf.Setting(people=1, tested=1, top=12, turns=3, shown=4, steps=3, batch=8, spacing=12.0,
                      concepts=("liver", "spleen", "heart"))


def noisy(slope: float = 10.0, spread: float = 20.0, concepts: int = 4000, sets: int = 4, harder: float = 0.0) -> frequency.Rows:
    """Concepts of 1 to 10,000 occurrences on a line, far off it; ``harder``: test sets of rarer concepts are harder besides."""
    rng = np.random.default_rng(0)
    names = rng.integers(sets, size=concepts)
    x = rng.uniform(0, 2, concepts) + names * 2 / sets
    y = 20 + slope * x + harder * names + rng.normal(0, spread, concepts)
    return frequency.Rows(np.round(10 ** x).astype(int), y, np.array([f"set {name}" for name in names]))


# ---- the law


def test_bins_flatter():
    law = frequency.law(noisy())
    assert law.of_bins > 0.97 and law.per_concept < 0.45
    assert law.slope == pytest.approx(10, abs=1) and law.concepts == 4000
    assert sum(b.concepts for b in law.bins) <= 4000 and all(b.low < b.mean < b.high for b in law.bins)


def test_an_intercept_for_each_test_set_takes_out_how_hard_it_is():
    law = frequency.law(noisy(slope=5, harder=10))
    assert law.slope > 10 and law.within == pytest.approx(5, abs=1)
    assert set(law.by_set) == {f"set {k}" for k in range(4)} and np.mean(list(law.by_set.values())) == pytest.approx(5, abs=1)


def test_concepts_that_never_occur_are_counted_apart():
    rows = noisy()
    more = frequency.Rows(*(np.concatenate(pair) for pair in zip(
        (rows.counts, rows.accuracy, rows.sets), (np.zeros(3, int), np.array([50.0, 60, 70]), np.array(["set 0"] * 3)))))
    law = frequency.law(more)
    assert law.never == 3 and law.never_accuracy == 60 and law.slope == frequency.law(rows).slope
    assert math.isnan(frequency.law(rows).never_accuracy)


def test_bins_are_half_a_decade_and_need_enough_concepts():
    x = np.array([0.0, 0.1, 0.49, 0.5, 0.9, 2.0])
    found = frequency.bins(x, np.array([0.0, 10, 20, 50, 70, 90]), 0.5, 2)
    assert [(b.concepts, b.mean) for b in found] == [(3, 10.0), (2, 60.0)]


@pytest.mark.parametrize(("counts", "said"), [([5] * 50, "two frequencies"), ([0] * 50, "two frequencies"), ([1, 2], "two bins")])
def test_too_little_for_a_law_is_one_sentence(counts, said):
    rows = frequency.Rows(np.array(counts), np.arange(len(counts), dtype=float), np.array(["a"] * len(counts)))
    with pytest.raises(DataError, match=said):
        frequency.law(rows)


def test_slope_and_correlation_of_what_does_not_vary():
    assert frequency.slope([0, 1, 2], [1, 3, 5]) == 2 and frequency.correlation([0, 1, 2], [5, 3, 1]) == pytest.approx(-1)
    assert math.isnan(frequency.slope([1, 1], [0, 5])) and math.isnan(frequency.correlation([0, 1], [5, 5]))


def test_a_law_comes_back_from_the_ledger():
    law = frequency.law(noisy())
    kept = json.loads(json.dumps(law.stored(), allow_nan=False))
    again = frequency.Law.read(kept)
    assert again.of_bins == pytest.approx(law.of_bins, abs=1e-4) and math.isnan(again.never_accuracy)
    assert [b.concepts for b in again.bins] == [b.concepts for b in law.bins]


# ---- the published counts


def test_the_published_counts_give_the_published_law_and_its_other_side(shared_data):
    rows = frequency.published_rows(shared_data / "concept_frequency" / "concept_frequency_zero_shot.csv")
    laws = frequency.laws(rows)
    assert {name: (law.concepts, law.never) for name, law in laws.items()} == {
        "cc3m": (3572, 1096), "cc12m": (3694, 974), "yfcc15m": (3718, 950), "laion400m": (4193, 475)}
    expected = {"cc3m": (0.42, 0.98), "cc12m": (0.42, 0.98), "yfcc15m": (0.21, 0.955), "laion400m": (0.26, 0.91)}
    assert [law.never_accuracy for law in laws.values()] == pytest.approx([2.3, 13.0, 18.1, 52.4], abs=0.06)
    for name, law in laws.items():
        assert (law.per_concept, law.of_bins) == pytest.approx(expected[name], abs=0.006)
        assert 0 < law.within < law.slope
    picture = figure(frequency.law_picture(laws, rows), alt=frequency.law_alt(laws))
    assert "0.42 concept by concept, 0.98 of the means" in picture.alt and len(picture.png) > 10_000


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "pretrain,dataset,image_count,accuracy\ncc3m,dtd,many,3\n"])
def test_another_table_is_refused(tmp_path, content):
    (path := tmp_path / "table.csv").write_text(content)
    with pytest.raises(DataError, match="is not the table"):
        frequency.published_rows(path)


def test_without_the_table_the_experiment_does_without(fresh_cache):
    with pytest.raises(DataError, match="fmlab data seed"):
        frequency.published_rows()
    assert c18.published() == {}


# ---- our own cohort


def test_frequencies_follow_zipf_and_the_lot():
    setting = zipf.Setting()
    numbers = zipf.counts(setting)
    assert numbers[0] == 1000 and numbers[9] == 10 and (numbers >= 1).all() and (np.diff(numbers) <= 0).all()
    by_turn = zipf.frequencies(setting, 3)
    assert all(sorted(row) == sorted(numbers) for row in by_turn.tolist())
    assert not np.array_equal(by_turn, zipf.frequencies(setting, 4)) and np.array_equal(by_turn, zipf.frequencies(setting, 3))
    ratio = by_turn.max(0) / by_turn.min(0)
    assert (ratio >= 10).all()  # everyone is frequent once and rare once


def test_the_controls_have_as_many_pictures():
    pool, numbers = torch.arange(3 * 10 * 2.0).reshape(3, 10, 2), np.array([9, 2, 1])
    sets = {arm: zipf.training_set(pool, numbers, arm) for arm in zipf.ARMS}
    assert {arm: whose.bincount().tolist() for arm, (_, whose) in sets.items()} == {
        "zipf": [9, 2, 1], "balanced": [4, 4, 4], "repeated": [9, 2, 1]}
    assert len(sets["repeated"][0].unique(dim=0)) == 3 and len(sets["zipf"][0].unique(dim=0)) == 12
    assert all((data[whose == k] // 20 == k).all() for data, whose in sets.values() for k in range(3))


def test_a_picture_is_about_its_structure():
    mask = torch.zeros(1, 40, 30, 4, dtype=torch.uint8)
    mask[0, 2:6, 20:24, 1:3] = 1
    image = torch.where(mask == 1, 1000.0, -1000.0)
    volume = Volume(image, np.eye(4), labels=mask * ID["liver"], name="a body")
    assert [(z, centre) for z, centre in zipf.middles(mask[0].bool().numpy())] == [(1, (3.5, 21.5)), (2, (3.5, 21.5))]
    found = zipf.pictures([volume], 20, np.random.default_rng(0), ("liver",))
    assert found.shape == (1, 20, 256)
    assert ((found > 0.9).sum(2) == 16).all()  # whole, wherever it is nudged, and beyond the edge of the scan there is nothing
    assert len(found[0].unique(dim=0)) > 5


def test_pairs_of_one_caption_share_their_mass():
    whose = torch.tensor([0, 0, 1])
    right, wrong = torch.full((3, 2), -20.0), torch.full((3, 2), -20.0)
    right[torch.arange(3), whose], wrong[torch.arange(3), 1 - whose] = 20.0, 20.0
    assert zipf.contrast(right, whose) < 0.7 < 10 < zipf.contrast(wrong, whose)
    assert zipf.contrast(right, whose) == pytest.approx(2 / 3 * math.log(2), abs=1e-4)  # two of three cannot be told apart


def test_accuracy_is_of_the_nearest_caption():
    class Knows(torch.nn.Module):
        def forward(self, pictures):
            return torch.nn.functional.one_hot(pictures[:, 0].long(), 3).float()

    shown = torch.zeros(3, 4, 256)
    shown[1, :, 0], shown[2, :2, 0] = 1, 2
    assert zipf.accuracy(Knows(), shown).tolist() == [100, 100, 50]


def test_the_slope_has_an_intercept_for_each_structure():
    numbers = np.array([[1, 10], [10, 100], [100, 1000]])
    easy = np.array([[80, 10], [83, 13], [86, 16]])  # the rarer one is the easier one
    assert c18.within(numbers, easy) == pytest.approx(3)
    assert frequency.slope(np.log10(numbers).ravel(), easy.ravel()) < 0
    effects = c18.effects(numbers, np.stack([easy + k for k in range(len(zipf.TESTED))], axis=1))
    assert effects == pytest.approx({f"hospital {name}": 3 for name in "ABCDEF"})


def test_c18_runs_from_end_to_end_and_a_seed_repeats_it(fresh_cache, monkeypatch):
    monkeypatch.setattr(zipf, "LEARNED", "A")
    monkeypatch.setattr(zipf, "TESTED", "AE")
    c18.material.cache_clear()
    run = c18.run(2, LITTLE, workers=1, command="a test")
    assert run.claim == "C18" and set(run.values) == {"hospital A", "hospital E"} and set(run.details["own"]) == set(zipf.ARMS)
    assert np.shape(run.details["accuracy"]) == np.shape(run.details["counts"]) == (3, 3) and run.details["published"] == {}
    assert c18.run(2, LITTLE, workers=1).values == run.values
    assert c18.run(3, LITTLE, workers=1).details["counts"] != run.details["counts"]
    claims.record(run)
    c18.material.cache_clear()


def test_the_stored_run_is_a_picture_with_words():
    details = claims.runs("C18")[0].details
    picture = figure(frequency.own_picture(details), alt=frequency.own_alt(details))
    assert len(picture.png) > 10_000 and "points per decade" in picture.alt and "one picture, repeated" in picture.alt
    stored = {name: frequency.Law.read(row) for name, row in details["published"].items()}
    assert "LAION-400M" in frequency.law_alt(stored) and len(frequency.law_picture(stored).axes) == 4

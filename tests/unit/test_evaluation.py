"""Scores of a case, summaries of a cohort, comparisons of two methods: conventions, intervals, tables, bad input."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab import metrics
from fmlab.errors import ScanError, VocabularyError
from fmlab.metrics import Score, compare, evaluate, summarise
from fmlab.vocabulary import ID
from fmlab.volume import Volume

SPACING = (2.0, 2.0, 4.0)
SHAPE = (16, 14, 10)
DIAGONAL = math.sqrt(32**2 + 28**2 + 40**2)
VOXEL_ML = 0.016


def boxes(**places: tuple[int, int]) -> torch.Tensor:
    """Label ids (X, Y, Z): for each structure a box from start to stop along X, 4 x 4 across."""
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    for name, (start, stop) in places.items():
        labels[start:stop, 3:7, 3:7] = ID[name]
    return labels


def volume(labels: torch.Tensor | None, annotated=None, affine=None) -> Volume:
    affine = np.diag([*SPACING, 1.0]) if affine is None else affine
    return Volume(torch.zeros(1, *SHAPE), affine, None if labels is None else labels[None], annotated)


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.structure: score for score in scores}


def score(structure: str = "liver", dice: float = 0.9, status: str = "ok", volume_ml: float = 100.0, tolerance: float = 2.0,
          error: float = 1.0) -> Score:
    """A hand-made score; HD95 falls as Dice rises."""
    if status in ("absent", "not annotated"):
        return Score(structure, *[math.nan] * 4, 0.0 if status == "absent" else math.nan, status, tolerance)
    if status == "false positive":
        return Score(structure, 0.0, 0.0, 500.0, 7.0, 0.0, status, tolerance)
    if status == "missed":
        return Score(structure, 0.0, 0.0, 500.0, -volume_ml, volume_ml, status, tolerance)
    return Score(structure, dice, dice, 100 * (1 - dice), error, volume_ml, status, tolerance)


# --- one case ------------------------------------------------------------------------------------------------------------------

def test_every_status_by_hand():
    reference = volume(boxes(liver=(0, 6), spleen=(8, 10), pancreas=(12, 14)), {"liver", "spleen", "stomach", "colon"})
    prediction = volume(boxes(liver=(1, 6), stomach=(10, 12), pancreas=(12, 14)))
    found = by_name(evaluate(prediction, reference, ["liver", "spleen", "stomach", "colon", "pancreas"]))
    assert {name: s.status for name, s in found.items()} == {
        "liver": "ok", "spleen": "missed", "stomach": "false positive", "colon": "absent", "pancreas": "not annotated"}
    liver, spleen, stomach = found["liver"], found["spleen"], found["stomach"]
    assert liver.dice == pytest.approx(2 * 5 / 11) and liver.hd95 == 2.0 and liver.nsd == 1.0
    assert liver.volume_ml == pytest.approx(96 * VOXEL_ML) and liver.volume_error == pytest.approx(-16 * VOXEL_ML)
    for worst, error, whole in ((spleen, -32, 32), (stomach, 32, 0)):
        assert (worst.dice, worst.nsd) == (0, 0) and worst.hd95 == pytest.approx(DIAGONAL)
        assert worst.volume_error == pytest.approx(error * VOXEL_ML) and worst.volume_ml == pytest.approx(whole * VOXEL_ML)
    for silent in (found["colon"], found["pancreas"]):
        assert not silent.scored
        assert all(math.isnan(v) for v in (silent.dice, silent.nsd, silent.hd95, silent.volume_error))
    assert found["colon"].volume_ml == 0 and math.isnan(found["pancreas"].volume_ml)


def test_the_same_figures_as_the_metrics_on_whole_masks():
    rng = np.random.default_rng(0)
    ids = np.array([0, ID["liver"], ID["liver_tumor"], ID["spleen"]], dtype=np.uint8)
    prediction, reference = (volume(torch.from_numpy(ids[rng.integers(0, 4, SHAPE)])) for _ in range(2))
    for found in evaluate(prediction, reference, tolerance=2.5):
        p, r = prediction.mask(found.structure), reference.mask(found.structure)
        assert found.dice == metrics.dice(p, r)
        assert found.nsd == metrics.nsd(p, r, SPACING, 2.5)
        assert found.hd95 == metrics.hd95(p, r, SPACING)
        assert found.volume_error == pytest.approx(metrics.volume_error(p, r, SPACING))
        assert found.tolerance == 2.5


def test_a_structure_is_its_region():
    reference = boxes(liver=(0, 8))
    reference[3:5, 3:7, 3:7] = ID["liver_tumor"]
    blind = boxes(liver=(0, 8))  # the liver whole, its tumour not seen
    found = by_name(evaluate(blind, reference, spacing=SPACING))
    assert found["liver"].dice == 1 and found["liver"].hd95 == 0
    assert found["liver_tumor"].status == "missed"


def test_a_tumour_alone_does_not_stand_for_an_annotated_liver():
    reference = volume(boxes(liver_tumor=(2, 4)), {"liver_tumor"})
    found = by_name(evaluate(volume(boxes(liver=(0, 8))), reference))
    assert found["liver"].status == "not annotated"


def test_by_default_all_that_either_side_draws_in_vocabulary_order():
    found = evaluate(boxes(colon=(0, 2), liver=(4, 6)), boxes(spleen=(8, 10), liver=(4, 6)), spacing=SPACING)
    assert [s.structure for s in found] == ["liver", "spleen", "colon"]
    assert [s.status for s in found] == ["ok", "missed", "false positive"]


def test_a_volume_of_unknown_annotation_vouches_for_what_it_draws():
    found = by_name(evaluate(volume(boxes(liver=(0, 4), colon=(6, 8))), volume(boxes(liver=(0, 4)))))
    assert found["liver"].status == "ok" and found["colon"].status == "not annotated"


def test_annotated_can_be_said_in_the_call():
    found = by_name(evaluate(boxes(liver=(0, 4), colon=(6, 8)), boxes(liver=(0, 4)), annotated=["liver"], spacing=SPACING))
    assert found["colon"].status == "not annotated"
    found = by_name(evaluate(volume(boxes(colon=(6, 8))), volume(boxes(liver=(0, 4))), annotated=["colon"]))
    assert found["colon"].status == "false positive" and found["liver"].status == "not annotated"


@pytest.mark.parametrize("convert", [
    lambda t: t, lambda t: t[None], lambda t: t.numpy(), lambda t: t.long(), lambda t: t.float(),
    lambda t: t.numpy().astype(np.int16),
])
def test_every_kind_of_label_map(convert):
    p, r = boxes(liver=(1, 6)), boxes(liver=(0, 6))
    assert evaluate(convert(p), convert(r), spacing=SPACING) == evaluate(p, r, spacing=SPACING)
    assert evaluate(convert(p), volume(r), annotated=["liver"]) == evaluate(p, r, spacing=SPACING)


def test_two_dimensions():
    found = evaluate(boxes(liver=(1, 6))[:, :, 4], boxes(liver=(0, 6))[:, :, 4], spacing=2.0)
    assert found[0].dice == pytest.approx(2 * 5 / 11) and found[0].volume_error == pytest.approx(-4 * 0.04)


def test_nothing_drawn_nothing_scored():
    assert evaluate(boxes(), boxes(), spacing=SPACING) == []
    assert evaluate(boxes(), boxes(), ["liver"], spacing=SPACING)[0].status == "absent"


def test_a_name_alone_is_a_list_of_one():
    assert [s.structure for s in evaluate(boxes(liver=(0, 4)), boxes(liver=(0, 4)), "liver", spacing=SPACING)] == ["liver"]


def moved(by: float) -> np.ndarray:
    affine = np.diag([*SPACING, 1.0])
    affine[0, 3] = by
    return affine


def sheared() -> np.ndarray:
    affine = np.diag([*SPACING, 1.0])
    affine[1, 2] = 1.5
    return affine


@pytest.mark.parametrize(("call", "says"), [
    (lambda p, r: evaluate(volume(p), volume(r, affine=moved(1.0))), "another grid"),
    (lambda p, r: evaluate(volume(p, affine=sheared()), volume(r, affine=sheared())), "right angles"),
    (lambda p, r: evaluate(p, r), "spacing"),
    (lambda p, r: evaluate(p, r, spacing=(1, 1)), "spacing"),
    (lambda p, r: evaluate(volume(p), volume(r), spacing=1.0), "leave it out"),
    (lambda p, r: evaluate(p[1:], r, spacing=1.0), "has shape"),
    (lambda p, r: evaluate(p[1:], volume(r)), "has shape"),
    (lambda p, r: evaluate(p[None, None], r, spacing=1.0), "one label id"),
    (lambda p, r: evaluate(torch.rand(SHAPE), r, spacing=1.0), "argmax"),
    (lambda p, r: evaluate(np.full(SHAPE, np.nan), r, spacing=1.0), "argmax"),
    (lambda p, r: evaluate(volume(None), volume(r)), "no labels"),
    (lambda p, r: evaluate(p, r, spacing=1.0, tolerance=-1), "tolerance"),
])
def test_unfit_cases_are_refused(call, says):
    with pytest.raises(ScanError, match=says):
        call(boxes(liver=(1, 6)), boxes(liver=(0, 6)))


def test_unknown_names_and_ids_are_refused():
    labels = boxes(liver=(1, 6))
    with pytest.raises(VocabularyError, match="liver"):
        evaluate(labels, labels, ["livr"], spacing=1.0)
    with pytest.raises(VocabularyError, match="livr"):
        evaluate(labels, labels, annotated=["livr"], spacing=1.0)
    with pytest.raises(VocabularyError, match="prediction"):
        evaluate(labels.long() + 300, labels, spacing=1.0)
    with pytest.raises(VocabularyError, match="prediction"):
        evaluate(labels.long() - 1, labels, spacing=1.0)  # -1 must not wrap round to 255


# --- a cohort ------------------------------------------------------------------------------------------------------------------

def test_mean_over_cases_then_structures_by_hand():
    summary = summarise({
        "p1": [score("liver", 0.9), score("spleen", 0.5)],
        "p2": [score("liver", 0.7), score("spleen", status="absent")],
        "p3": [score("liver", 0.8), score("spleen", status="not annotated")],
    })
    assert summary["liver"].dice.mean == pytest.approx(0.8) and summary["liver"].cases == 3
    assert summary["spleen"].dice.mean == pytest.approx(0.5) and summary["spleen"].cases == 1
    assert (summary["spleen"].absent, summary["spleen"].not_annotated) == (1, 1)
    assert summary.overall.dice.mean == pytest.approx((0.8 + 0.5) / 2)  # the mean over all five figures would be 0.725


def test_a_missed_structure_stays_in_every_mean():
    """MONAI issue 9095: the method that misses a hard case must not look better for it."""
    tried = summarise({"p1": [score(dice=0.9)], "p2": [score(dice=0.2)]})
    gave_up = summarise({"p1": [score(dice=0.9)], "p2": [score(status="missed")]})
    assert gave_up["liver"].dice.mean < tried["liver"].dice.mean
    assert gave_up["liver"].nsd.mean < tried["liver"].nsd.mean
    assert gave_up["liver"].hd95.mean == pytest.approx((10 + 500) / 2)
    assert gave_up["liver"].hd95.mean > tried["liver"].hd95.mean
    assert gave_up["liver"].volume_error.mean > tried["liver"].volume_error.mean
    assert (gave_up["liver"].missed, gave_up["liver"].cases) == (1, 2)


def test_a_false_positive_counts_as_zero_and_a_right_absence_not_at_all():
    row = summarise({"p1": [score(dice=0.9)], "p2": [score(status="false positive")], "p3": [score(status="absent")]})["liver"]
    assert row.dice.mean == pytest.approx(0.45)
    assert (row.cases, row.false_positives, row.absent) == (2, 1, 1)


def test_volume_errors_do_not_cancel():
    row = summarise({"p1": [score(error=10.0)], "p2": [score(error=-10.0)]})["liver"]
    assert row.volume_error.mean == pytest.approx(10.0)


def test_two_scans_of_a_patient_are_two_cases_and_one_patient():
    row = summarise({"p1": [score(dice=0.9), score(dice=0.9)], "p2": [score(dice=0.6)]})["liver"]
    assert row.dice.mean == pytest.approx(0.8) and row.cases == 3 and row.dice.patients == 2


def cohort(values, structure: str = "liver") -> dict[str, list[Score]]:
    return {f"p{i}": [score(structure, float(v))] for i, v in enumerate(values)}


def test_one_patient_has_no_interval_and_the_table_says_so():
    summary = summarise(cohort([0.9]))
    assert not summary["liver"].dice.has_interval and not summary.overall.dice.has_interval
    assert math.isnan(summary["liver"].dice.low)
    assert "no interval" in str(summary) and "[0." not in str(summary)
    many_scans = summarise({"p": [score(dice=d) for d in (0.1, 0.5, 0.9)]})
    assert not many_scans["liver"].dice.has_interval


def test_a_structure_of_one_patient_has_no_interval_while_others_have():
    summary = summarise({"p1": [score("liver", 0.9), score("spleen", 0.5)], "p2": [score("liver", 0.7)]})
    assert summary["liver"].dice.has_interval and not summary["spleen"].dice.has_interval
    assert "Scored in one patient only, so without interval: spleen." in str(summary)


def test_intervals_hold_the_mean_and_are_reproducible():
    values = np.random.default_rng(0).uniform(0.5, 1, 20)
    first, again, other = summarise(cohort(values)), summarise(cohort(values)), summarise(cohort(values), seed=1)
    found = first["liver"].dice
    assert found.low < found.mean < found.high
    assert first == again
    assert other["liver"].dice.low != found.low and other["liver"].dice.mean == found.mean
    assert found.low == pytest.approx(found.mean - 1.96 * values.std() / math.sqrt(20), abs=0.01)  # what the normal law says


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        found = summarise(cohort(rng.normal(0.7, 0.1, 30)), resamples=300)["liver"].dice
        covered += found.low <= 0.7 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_patients_are_drawn_not_scans():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.3, 1, 12)
    alike = {f"p{i}": [score(dice=float(v))] * 10 for i, v in enumerate(values)}  # ten scans of each add nothing new
    found, once = summarise(alike)["liver"].dice, summarise(cohort(values))["liver"].dice
    assert found.high - found.low == pytest.approx(once.high - once.low)


def test_the_order_of_patients_moves_no_mean():
    values = [0.9, 0.5, 0.7, 0.2]
    assert summarise(cohort(values))["liver"].dice.mean == pytest.approx(summarise(cohort(values[::-1]))["liver"].dice.mean)


def test_a_cohort_without_anything_to_score():
    summary = summarise({"p1": [score(status="absent")], "p2": [score(status="not annotated")], "p3": []})
    assert math.isnan(summary["liver"].dice.mean) and summary["liver"].cases == 0
    assert math.isnan(summary.overall.dice.mean) and "-" in str(summary)
    assert "not annotated (cases): liver (1)" in str(summary)
    assert math.isnan(summarise({"p1": []}).overall.dice.mean)


@pytest.mark.parametrize(("cases", "says"), [
    ({}, "no cases"), ([score()], "dictionary"), ({"p": score()}, "list of scores"), ({"p": [0.9]}, "list of scores"),
    ({"p": [score(tolerance=1.0)], "q": [score(tolerance=2.0)]}, "tolerance"),
])
def test_unfit_cohorts_are_refused(cases, says):
    with pytest.raises(ScanError, match=says):
        summarise(cases)


@pytest.mark.parametrize("settings", [{"resamples": 10}, {"resamples": 1e4}, {"seed": -1}, {"seed": None}])
def test_unfit_settings_are_refused(settings):
    with pytest.raises(ScanError, match=next(iter(settings))):
        summarise(cohort([0.5, 0.6]), **settings)


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(ScanError, match="spleen"):
        summarise(cohort([0.5]))["spleen"]


# --- tables --------------------------------------------------------------------------------------------------------------------

class _Reader(HTMLParser):
    """What a screen reader needs: caption, header cells with their scope, how many cells each row has."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes, self.rows, self.captions, self.words = [], [], 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.captions += tag == "caption"
        if tag == "tr":
            self.rows.append(0)
        if tag in ("th", "td"):
            self.rows[-1] += 1
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_text_table_is_aligned_and_complete():
    summary = summarise({f"p{i}": [score("liver", 0.8 + i / 100), score("gluteus_maximus_left", 0.5)] for i in range(12)})
    lines = str(summary).splitlines()
    table = [line for line in lines[1:] if not line.startswith("-")][:4]
    assert len({len(line) for line in table}) == 1
    assert [line.split("  ")[0] for line in table] == ["structure", "liver", "gluteus_maximus_left", "mean over structures"]
    assert "NSD at 2 mm" in table[0] and "0.855 [" in table[1]
    assert "2000 bootstrap draws of patients, seed 0" in lines[-1]


def test_few_patients_are_owned_up_to():
    assert "few" in str(summarise(cohort([0.5, 0.6, 0.7])))
    assert "few" not in str(summarise(cohort(np.linspace(0.5, 0.9, 12))))


@pytest.mark.parametrize("shown", [
    summarise({"p1": [score("liver"), score("spleen", status="absent")], "p2": [score("liver", 0.5)]}),
    compare(cohort([0.9, 0.8]), cohort([0.7, 0.8])),
], ids=["summary", "comparison"])
def test_the_html_table_can_be_read_aloud(shown):
    reader = _Reader()
    reader.feed(shown._repr_html_())
    assert reader.captions == 1
    assert reader.scopes.count("col") == reader.rows[0] and reader.scopes.count("row") == len(reader.rows) - 1
    assert len(set(reader.rows)) == 1
    assert "liver" in reader.words


def test_html_is_escaped():
    shown = compare(cohort([0.9, 0.8]), cohort([0.7, 0.8]), names=("<b>A", "B&C"))._repr_html_()
    assert "<b>" not in shown and "&lt;b&gt;A" in shown and "B&amp;C" in shown


# --- two methods ---------------------------------------------------------------------------------------------------------------

def test_pairing_sees_a_small_gain_that_the_spread_of_patients_hides():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.3, 0.9, 12)
    a, b = cohort(hard + 0.03 + rng.normal(0, 0.01, 12)), cohort(hard)
    assert summarise(a)["liver"].dice.low < summarise(b)["liver"].dice.high  # unpaired, the intervals overlap
    found = compare(a, b)
    assert found.verdict == "A better" and found.difference.low > 0
    assert found.difference.mean == pytest.approx(summarise(a).overall.dice.mean - summarise(b).overall.dice.mean)
    assert compare(b, a).verdict == "B better"
    assert compare(b, a).difference.mean == pytest.approx(-found.difference.mean)


def test_lower_is_better_for_distances_and_volumes():
    a, b = cohort(np.full(8, 0.9)), cohort(np.full(8, 0.7))
    found = compare(a, b, metric="hd95", names=("net", "atlas"))
    assert found.difference.mean == pytest.approx(-20) and found.verdict == "net better"
    over = {p: [dataclasses.replace(s, volume_error=-5.0) for s in scores] for p, scores in a.items()}
    assert compare(over, b, metric="volume_error").verdict == "B better"  # five too little is worse than one too much


def test_no_difference_is_undecided():
    rng = np.random.default_rng(1)
    values = rng.uniform(0.5, 0.9, 12)
    assert compare(cohort(values), cohort(values)).verdict == "undecided"
    found = compare(cohort(values + rng.normal(0, 0.05, 12)), cohort(values))
    assert found.verdict == "undecided" and "includes 0" in found.reason


@pytest.mark.parametrize("patients", [1, 2, 5])
def test_few_patients_decide_nothing(patients):
    found = compare(cohort([0.9] * patients), cohort([0.5] * patients))
    assert found.verdict == "undecided" and "too few" in found.reason
    assert found.difference.has_interval == (patients > 1)


def test_a_false_positive_loses_against_a_right_absence():
    a = {p: [score("liver", 0.8), score("spleen", status="absent")] for p in range(8)}
    b = {p: [score("liver", 0.8), score("spleen", status="false positive")] for p in range(8)}
    for metric in metrics.METRICS:
        assert compare(a, b, metric).verdict == "A better"
    assert dict(compare(a, b).structures)["spleen"].mean == 1.0


def test_pairs_without_anything_to_score_stay_out():
    a = {p: [score("liver", 0.8), score("spleen", status="absent"), score("colon", status="not annotated")] for p in range(8)}
    found = compare(a, a)
    assert found.difference.mean == 0 and dict(found.structures)["liver"].patients == 8
    assert math.isnan(dict(found.structures)["spleen"].mean) and math.isnan(dict(found.structures)["colon"].mean)


@pytest.mark.parametrize(("a", "b", "options", "says"), [
    (cohort([0.9, 0.8]), cohort([0.9]), {}, "p1"),
    ({"p": [score("liver")]}, {"p": [score("spleen")]}, {}, "structures="),
    ({"p": [score(volume_ml=100)]}, {"p": [score(volume_ml=90)]}, {}, "reference"),
    ({"p": [score(status="not annotated")]}, {"p": [score(status="absent")]}, {}, "reference"),
    ({"p": [score(tolerance=1.0)]}, {"p": [score(tolerance=2.0)]}, {}, "tolerance"),
    (cohort([0.9]), cohort([0.9]), {"metric": "iou"}, "iou"),
    ({}, {}, {}, "no cases"),
])
def test_unfit_comparisons_are_refused(a, b, options, says):
    with pytest.raises(ScanError, match=says):
        compare(a, b, **options)


# --- from scans to a table -----------------------------------------------------------------------------------------------------

REAL = Path(__file__).parents[3] / "shared" / "data" / "totalsegmentator"


@pytest.mark.skipif(not (REAL / "example_ct.nii.gz").exists(), reason=f"the real CT is not in {REAL}")
def test_two_readers_of_a_real_scan():
    """Two label versions of one CT: large organs agree, thin and cut ones less; what only one reader looked for is not scored."""
    scan, first, second = (REAL / f"example_{name}.nii.gz" for name in ("ct", "seg_v1", "seg_fast_force_split"))
    one = Volume.read(scan, labels=first, scheme="totalsegmentator_v1")
    other = Volume.read(scan, labels=second, scheme="totalsegmentator_v2")
    found = by_name(evaluate(other, one))
    for name in ("liver", "spleen", "kidney_left", "urinary_bladder"):
        assert found[name].dice > 0.96 and found[name].hd95 <= 3.0
    assert found["pancreas"].dice < found["liver"].dice
    assert found["spinal_cord"].status == "not annotated"  # version 1 has no such class
    back = by_name(evaluate(one, other))
    assert back["spinal_cord"].status == "missed"
    assert back["liver"].dice == found["liver"].dice and back["liver"].hd95 == found["liver"].hd95
    assert metrics.hd95(one.mask("liver"), other.mask("liver"), one.spacing) == found["liver"].hd95

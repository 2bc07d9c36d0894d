"""Lesson 04: right answers pass, the exercises are what the package does, and the recording shows what the lesson says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_scripts import record_pairs
from fmlab.contrastive.paired import auroc, paired
from fmlab.lessons import frequency
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.paired_prompts import ARMS, FINDINGS, aurocs, compared, spoken, stored, with_reports
from fmlab.lessons.quiz import questions


def paired_by_sigmoid(images, present, absent, scale):
    return torch.sigmoid(scale * (images @ (present - absent).T))


def paired_in_loops(images, present, absent, scale):
    rows = []
    for u in images:
        pairs = [torch.stack([u @ yes, u @ no]) * scale for yes, no in zip(present, absent)]
        rows.append(torch.stack([pair.softmax(0)[0] for pair in pairs]))
    return torch.stack(rows)


def paired_by_numbers(images, present, absent, scale):
    yes, no = np.exp(scale * (images @ present.T).numpy()), np.exp(scale * (images @ absent.T).numpy())
    return yes / (yes + no)


def within_by_dummies(counts, accuracy, sets):
    """The textbook's way: a column for each set, and least squares."""
    seen = counts > 0
    columns = (sets[seen][:, None] == np.unique(sets[seen])).astype(float)
    design = np.column_stack([np.log10(counts[seen]), columns])
    return float(np.linalg.lstsq(design, accuracy[seen], rcond=None)[0][0])


def within_by_half_centring(counts, accuracy, sets):
    """Centred x is enough: its products with a set's level add up to 0."""
    seen = counts > 0
    x, s = np.log10(counts[seen]), sets[seen]
    x = x - np.array([x[s == name].mean() for name in s])
    return float(x @ accuracy[seen] / (x @ x))


RIGHT = [("04-paired", paired_by_sigmoid), ("04-paired", paired_in_loops), ("04-paired", paired_by_numbers),
         ("04-within", within_by_dummies), ("04-within", within_by_half_centring)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    def hinted(images, present, absent, scale):
        both = scale * torch.stack([images @ present.T, images @ absent.T])
        return both.softmax(0)[0]

    hint = exercise("04-paired").hints[-1]
    assert "both = scale * torch.stack([images @ present.T, images @ absent.T])" in hint and "both.softmax(0)[0]" in hint
    assert judge(exercise("04-paired"), hinted).passed
    assert "x[own] -= x[own].mean(); y[own] -= y[own].mean()" in exercise("04-within").hints[-1]


def test_the_exercises_are_what_the_package_does():
    assert exercise("04-paired").reference is paired and exercise("04-within").reference is frequency.within


def test_auroc_of_hand_worked_cases():
    truth = torch.tensor([True, True, False, False])
    assert auroc(torch.tensor([0.9, 0.4, 0.5, 0.1]), truth) == 0.75
    assert auroc(torch.tensor([0.5, 0.5, 0.5, 0.5]), truth) == 0.5 and auroc(torch.tensor([1.0, 2, 3, 4]), truth) == 0
    assert np.isnan(auroc(torch.ones(4), torch.ones(4, dtype=torch.bool)))


def test_a_pair_of_one_text_says_a_half():
    u = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.allclose(paired(u, u, u, 30.0), torch.full((3, 3), 0.5))


# ---- the recording

def test_the_recording_is_what_the_lesson_reads():
    slices, truth, models = stored()
    assert set(models) == set(ARMS) and truth.shape == (len(slices), len(FINDINGS)) and slices.shape[1:] == (48, 48)
    for one in models.values():
        assert one.images.shape[0] == len(slices) and one.present.shape == one.absent.shape == (12, one.images.shape[1])
        assert torch.allclose(one.images.norm(dim=1), torch.ones(len(slices)), atol=1e-5) and 1 < one.scale <= 100
    assert truth.any(0).all() and not truth.all(0).any()


def test_who_never_read_not_knows_organs_and_no_absence():
    """What section 3 says of the two models."""
    _, truth, models = stored()
    pair, alone = ({arm: np.mean(aurocs(scores(one), truth)) for arm, one in models.items()} for scores in (
        lambda m: paired(m.images, m.present, m.absent, m.scale), lambda m: m.images @ m.present.T))
    assert alone["omits"] > 0.85 and pair["omits"] < alone["omits"] - 0.15
    assert abs(pair["states"] - alone["states"]) < 0.05 and pair["states"] > 0.85
    near = {arm: float((one.present @ one.absent.T).diagonal().mean()) for arm, one in models.items()}
    assert near["omits"] > 0.6 > 0.3 > near["states"]


def test_figures_say_what_they_show():
    slices, truth, _ = stored()
    fig, alt = with_reports(slices, truth, [2, 7])
    assert len(fig.axes) == 2 and alt.startswith("2 axial slices")
    fig, alt = compared({"a": [0.5] * 12, "b": [1.0] * 12})
    assert "b: mean 1.00" in alt and len(fig.axes[0].get_yticklabels()) == 12


def test_reports_deny_only_where_they_may():
    there = torch.zeros(len(FINDINGS), dtype=torch.bool)
    there[[0, 3]] = True
    said = {denies: " ".join(record_pairs.report(there, denies, np.random.default_rng(k)) for k in range(20))
            for denies in (True, False)}
    assert "not" not in said[False] and "liver is present." in said[False] and "spleen" not in said[False]
    assert "spleen is not present." in said[True] and "liver is not present." not in said[True]
    assert spoken("kidney_left") == "left kidney" and spoken("urinary_bladder") == "urinary bladder"


def test_quiz_has_five_questions():
    assert len(questions("04")) == 5

"""Cohorts: phantoms cached on disk and made in parallel, real scans by name, splits by patient."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from fake_phantoms import MADE, dies, fake_sample, interrupted

from fmlab import cohorts
from fmlab.cohorts import Case, Cohort, load, phantoms, scans, split
from fmlab.errors import DataError
from fmlab.hub import data
from fmlab.volume import Volume

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # a repair that no test expects is a failure


@pytest.fixture(autouse=True)
def own_cache(fresh_cache):
    """Every test has a cache of its own and starts counting anew."""
    MADE.clear()
    return fresh_cache


def fakes(count: int, workers: int = 1, **options: object) -> Cohort:
    return phantoms(count, workers=workers, sampler=fake_sample, **options)


def same(a: Volume, b: Volume) -> bool:
    return torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels) and np.array_equal(a.affine, b.affine) \
        and (a.annotated, a.modality, a.name) == (b.annotated, b.modality, b.name)


def test_bodies_are_made_once_and_read_one_at_a_time(monkeypatch):
    cohort = fakes(4, first_seed=10)
    assert MADE == [10, 11, 12, 13] and len(cohort) == 4 and len(set(cohort.patients)) == 4
    again = fakes(4, first_seed=10)
    assert MADE == [10, 11, 12, 13] and all(same(a, b) for a, b in zip(cohort, again))
    reads = []
    monkeypatch.setattr("fmlab.phantom_cache._read", lambda body: reads.append(body.seed))
    walk = iter(cohort)
    next(walk)
    assert reads == [10]


def test_a_cached_body_is_the_sampled_one_in_whole_hu():
    body, sampled = fakes(1, first_seed=3, centre="B", spacing=2.5)[0], fake_sample(3, "B", 2.5)
    assert torch.equal(body.image, sampled.image.round()) and torch.equal(body.labels, sampled.labels)
    assert body.spacing == (2.5, 2.5, 2.5) and body.annotated == {"liver", "spleen"} and body.labels.dtype == torch.uint8
    assert body.info["seed"] == 3 and body.info["weight"] == 70.5


def test_a_larger_cohort_makes_only_what_is_new():
    fakes(3)
    fakes(5)
    assert MADE == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"centre": "B"}, {"spacing": 5.0}, {"partial": True}])
def test_every_part_of_the_key_counts(change):
    plain, other = fakes(1)[0], fakes(1, **change)[0]
    assert MADE == [0, 0] and not same(plain, other)


def test_another_version_of_the_sampler_makes_new_bodies(monkeypatch):
    fakes(1)
    monkeypatch.setattr(fake_sample, "VERSION", "2")
    fakes(1)
    assert MADE == [0, 0]


def test_the_packages_own_sampler_is_keyed_by_its_version(monkeypatch, own_cache):
    monkeypatch.setattr("fmlab.cohorts._sampler", lambda given: (fake_sample, "own-7"))
    phantoms(1, workers=1)
    assert (own_cache / "phantoms/own-7/A-4mm/seed-000000.npz").is_file()


def test_partial_keeps_the_protocol():
    assert fakes(1, partial=True)[0].annotated == {"liver"}


def test_several_processes_make_the_same_bodies(tmp_path, monkeypatch):
    parallel = fakes(4, workers=2)
    assert MADE == [] and all(volume.info["process"] != os.getpid() for volume in parallel)
    monkeypatch.setenv("FMLAB_DATA", str(tmp_path / "other"))
    assert all(same(a, b) for a, b in zip(parallel, fakes(4, workers=1)))


def test_a_few_bodies_start_no_process_unless_told():
    fakes(4, workers=None)
    assert MADE == [0, 1, 2, 3]


def test_when_the_processes_die_the_rest_is_made_here():
    MADE.append(-1)  # only in this process
    with pytest.warns(UserWarning, match="ended early"):
        cohort = phantoms(3, workers=2, sampler=dies)
    assert len(list(cohort)) == 3 and MADE[1:] == [0, 1, 2]


def test_an_interrupted_cohort_goes_on_where_it_stopped(own_cache):
    with pytest.raises(KeyboardInterrupt):
        phantoms(4, workers=1, sampler=interrupted)
    assert sorted(path.name for path in own_cache.rglob("*") if path.is_file()) == ["seed-000000.npz", "seed-000001.npz"]
    phantoms(4, workers=1, sampler=interrupted)
    assert MADE == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk" * 100,
                                    lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:]])
def test_a_corrupt_file_is_made_again_with_a_notice(own_cache, damage):
    cohort = fakes(2)
    good = cohort[1]
    path = next(own_cache.rglob("seed-000001.npz"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="seed-000001.npz is damaged.*made again"):
        repaired = cohort[1]
    assert same(repaired, good) and MADE == [0, 1, 1]


def test_a_file_of_another_body_is_not_believed(own_cache):
    cohort = fakes(2)
    first, second = sorted(own_cache.rglob("*.npz"))
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="another body"):
        assert same(cohort[1], fakes(2)[1])


def test_a_file_that_vanished_is_made_again(own_cache):
    cohort = fakes(1)
    next(own_cache.rglob("*.npz")).unlink()
    with pytest.warns(UserWarning, match="not there any more"):
        assert cohort[0].shape == (6, 5, 4)


def test_a_cache_that_cannot_be_written_is_a_clear_error(own_cache):
    own_cache.write_text("a file where the cache should be")
    with pytest.raises(DataError, match="cannot be written"):
        fakes(1)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 1, "first_seed": -1}, {"count": 1, "centre": "Z"},
                                   {"count": 1, "spacing": 0.0}, {"count": 1, "spacing": float("nan")}])
def test_impossible_cohorts_are_refused(wrong):
    with pytest.raises(DataError, match="phantoms"):
        fakes(**wrong)
    assert MADE == []


def test_slices_sums_and_pickles_are_cohorts():
    cohort = fakes(3)
    joined = cohort[1:] + cohort[:1]
    assert isinstance(joined, Cohort) and joined.names == cohort.names[1:] + cohort.names[:1]
    assert same(joined[-1], cohort[0]) and same(pickle.loads(pickle.dumps(joined))[0], cohort[1])
    with pytest.raises(IndexError):
        cohort[3]


def people(scans_of: dict[str, int]) -> Cohort:
    """A cohort that nobody reads: patient to number of scans."""
    return Cohort("people", tuple(Case(f"{who}-{i}", who, fake_sample) for who, count in scans_of.items() for i in range(count)))


@pytest.mark.parametrize("seed", range(20))
def test_a_split_never_puts_a_patient_on_two_sides(seed):
    rng = np.random.default_rng(seed)
    cohort = people({f"p{i}": int(rng.integers(1, 5)) for i in range(int(rng.integers(3, 30)))})
    shares = rng.dirichlet([2, 2, 2])
    sides = split(cohort, shares.tolist(), seed)
    owners = [set(side.patients) for side in sides]
    assert all(owners) and not any(a & b for i, a in enumerate(owners) for b in owners[i + 1:])
    assert sorted(name for side in sides for name in side.names) == sorted(cohort.names)


def test_shares_are_of_patients_and_reproducible():
    cohort = people({f"p{i:02}": 1 + i % 3 for i in range(20)})
    train, test = split(cohort, (0.75, 0.25), seed=1)
    assert (len(set(train.patients)), len(set(test.patients))) == (15, 5)
    backwards = Cohort("people", cohort.cases[::-1])
    assert set(split(backwards, (0.75, 0.25), seed=1)[1].patients) == set(test.patients)
    assert set(split(cohort, (0.75, 0.25), seed=2)[1].patients) != set(test.patients)


def test_a_mapping_gives_named_sides():
    sides = split(people({"a": 2, "b": 1, "c": 1}), {"train": 0.98, "test": 0.02})
    assert sides.keys() == {"train", "test"} and len(set(sides["test"].patients)) == 1


def test_the_smallest_share_still_gets_a_patient():
    assert [len(side) for side in split(people({"a": 1, "b": 1, "c": 1}), (0.98, 0.01, 0.01))] == [1, 1, 1]


@pytest.mark.parametrize("fractions", [(), (0.5, 0.6), (1.0, 0.0), (1.5, -0.5), (0.25,) * 4])
def test_splits_that_cannot_be_are_refused(fractions):
    with pytest.raises(DataError, match="split"):
        split(people({"a": 3, "b": 3, "c": 3}), fractions)


def test_real_scans_come_by_name_with_labels_and_terms(shared_data, no_network):
    data.seed_cache(shared_data)
    ct, second = load("totalsegmentator-ct"), load("totalsegmentator-ct-v1-labels")
    assert ct.shape == second.shape == (122, 101, 112) and torch.equal(ct.image, second.image)
    assert "Apache" in ct.info["licence"] and ct.name == "totalsegmentator-ct" and ct.modality == "CT"
    for volume in (ct, second):  # a liver is a liver in both label schemes
        assert 100 < volume.mask("liver").sum() * volume.voxel_ml < 2500
        hu = volume.image[0]
        assert hu[volume.mask("liver")].median() > 20 > hu[volume.mask("lung_lower_lobe_right")].median()


def test_every_registered_scan_can_be_read(shared_data, no_network):
    data.seed_cache(shared_data)
    cohort = scans()
    assert len(cohort) == sum(entry.kind == "scan" for entry in data.registry())
    for name, volume in zip(cohort.names, cohort):
        entry = data.find(name)
        assert (volume.name, volume.modality) == (name, entry.modality)
        assert bool(volume.structures) == bool(entry.having("labels")) and ("mask" in volume.info) == bool(entry.having("mask"))


def test_two_readings_of_one_patient_stay_on_one_side(shared_data):
    data.seed_cache(shared_data)
    for seed in range(10):
        for side in split(scans(), (0.5, 0.5), seed):
            held = {"totalsegmentator-ct", "totalsegmentator-ct-v1-labels", "totalsegmentator-ct-slab"} & set(side.names)
            assert len(held) in (0, 3)


def test_an_empty_cache_gives_an_empty_cohort_and_pictures_are_no_scan():
    assert len(scans()) == 0
    with pytest.raises(DataError, match="not a scan"):
        cohorts.load("lung-xray")

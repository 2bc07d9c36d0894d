"""Templates of real data sets and assemblies of phantom centres."""

from __future__ import annotations

import re

import pytest
from fake_phantoms import fake_sample

from fmlab.errors import DataError, VocabularyError
from fmlab.phantom.centres import CENTRES
from fmlab.schemes import ANNOTATED
from fmlab.templates import FILLED_BY, TEMPLATES, annotated_by, annotated_structures, assembly, covers, template_matrix
from fmlab.vocabulary import ID, region


def test_each_template_is_built_on_its_scheme():
    for name, template in TEMPLATES.items():
        assert template.name == name and template.annotated is ANNOTATED[name] and template.annotated <= set(ID)
        assert template.annotated and template.title and template.cases >= 0
        assert template.doi == "" or re.fullmatch(r"10\.\d{4,5}/\S+", template.doi)
    assert set(ANNOTATED) - set(TEMPLATES) <= {"fmlab", "universal_29"}  # our own ids, and a model's output


def test_facts_of_the_best_known_sets():
    assert TEMPLATES["lits"].annotated == {"liver", "liver_tumor"}
    assert len(TEMPLATES["btcv"].annotated) == 13
    assert len(TEMPLATES["amos22"].annotated) == 15
    assert TEMPLATES["msd_hepatic_vessel"].annotated == {"hepatic_vessels", "liver_tumor"}


def test_covers():
    assert covers(CENTRES["D"].annotated, "lung_left") and not covers(CENTRES["A"].annotated, "lung_left")
    assert not covers({"liver_tumor", "hepatic_vessels"}, "liver")
    for whole, parts in FILLED_BY.items():
        assert {ID[part] for part in parts} <= set(region(whole))
    with pytest.raises(VocabularyError):
        covers({"liver"}, "livre")


def test_matrix_rows_are_data_sets_and_columns_structures():
    matrix = template_matrix(["A", "lits", "D"], ["spleen", "liver_tumor", "lung_right"])
    assert matrix.dtype == bool
    assert matrix.tolist() == [[True, False, False], [False, True, False], [True, False, True]]
    columns = annotated_structures(["lits", "msd_spleen"])
    assert columns == ("liver", "spleen", "liver_tumor")
    assert template_matrix(["lits", "msd_spleen"]).tolist() == [[True, False, True], [False, True, False]]
    assert template_matrix(list(CENTRES)).any(0).all()
    with pytest.raises(DataError, match="No data set"):
        annotated_by("Z")


def test_assembly_joins_partial_cohorts_of_different_people(fresh_cache):
    joined = assembly({"A": 2, "C": 1}, workers=1, sampler=fake_sample)
    assert len(joined) == 3 and len(set(joined.patients)) == 3
    assert [volume.annotated for volume in joined] == [frozenset({"liver"})] * 3  # the fake draws less when it is partial
    assert [volume.info["seed"] for volume in joined] == [0, 1, 20_000]
    assert "2 of A" in joined.name
    more = assembly({"C": 2}, workers=1, sampler=fake_sample)
    assert more.names[0] == joined.names[2]  # a larger assembly reuses the smaller one's bodies


@pytest.mark.parametrize("counts", [{}, {"A": 0}, {"A": 10_001}, {"Q": 3}])
def test_assembly_refuses(counts):
    with pytest.raises(DataError, match="assembly"):
        assembly(counts)

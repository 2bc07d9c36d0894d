"""Structures that the course's small models, told what to segment by examples or clicks, never trained on: their examination."""

from __future__ import annotations

from fmlab.vocabulary import STRUCTURES, region, structure

HELD_OUT = (
    "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left", "gluteus_medius_right", "gluteus_minimus_left",
    "gluteus_minimus_right", "heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right",
    "heart_ventricle_right", "kidney_left", "kidney_right", "liver_tumor")
"""Never asked for in training, nor is any part of them."""

TASKS = tuple(s.name for s in STRUCTURES if not any(s.id in region(structure(name).name) for name in HELD_OUT))
"""All other structures of the vocabulary."""

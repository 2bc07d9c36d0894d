"""The claims as declared in the table ``claims.toml`` beside this file: what is claimed, and what would show it."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fmlab.errors import ClaimError

TABLE = Path(__file__).with_name("claims.toml")
_REQUIRED = {"id", "title", "sentence", "lesson", "effect", "unit"}
_OPTIONAL = {"least", "quoted"}


@dataclass(frozen=True)
class Quote:
    """Numbers that the slides quote, as text, and the DOI of the paper they stand in."""

    numbers: str
    doi: str

    def __str__(self) -> str:
        return f"{self.numbers} (https://doi.org/{self.doi})"


@dataclass(frozen=True)
class Claim:
    """One claim of the slides, and how it is put to the test.

    id: "C05". title: a few words. sentence: the claim. lesson: "12", where its experiment is run. effect: what is measured, one
    number a case; positive supports the claim. unit: of the effect. least: the smallest effect that matters, in that unit.
    quoted: numbers of the slides; empty where we have not seen them.
    """

    id: str
    title: str
    sentence: str
    lesson: str
    effect: str
    unit: str
    least: float = 0.0
    quoted: tuple[Quote, ...] = ()


@cache
def declared() -> tuple[Claim, ...]:
    """Every claim of the package's table, by id."""
    return read_table(TABLE)


def find(claim_id: str) -> Claim:
    """The claim of that id ("c05" will do); ClaimError says which there are."""
    known = {claim.id: claim for claim in declared()}
    wanted = str(claim_id).strip().upper()
    if wanted not in known:
        raise ClaimError(f"There is no claim {str(claim_id)!r}; there are {min(known)} to {max(known)}, see `fmlab claims`.")
    return known[wanted]


def read_table(path: str | Path) -> tuple[Claim, ...]:
    """Read and check a table of claims (TOML, as ``claims.toml``); ClaimError names the first row that is wrong."""
    try:
        rows = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("claim", [])
    except (OSError, ValueError, RecursionError) as error:
        raise ClaimError(f"The claims {path} cannot be read ({error}); install fmlab again or restore the file.") from error
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise ClaimError(f"{path}: a claim is a table that begins with [[claim]]; correct what is called claim.")
    found = tuple(sorted((_claim(row, path) for row in rows), key=lambda claim: claim.id))
    for one, other in zip(found, found[1:]):
        if one.id == other.id:
            raise ClaimError(f"{path}: two claims are called {one.id}; rename one.")
    if not found:
        raise ClaimError(f"{path} holds no [[claim]]; install fmlab again or restore the file.")
    return found


def _claim(row: dict, path: str | Path) -> Claim:
    where = f"{path}, claim {row.get('id', '?')!r}"
    if not _REQUIRED <= row.keys() <= _REQUIRED | _OPTIONAL:
        wrong = sorted((_REQUIRED - row.keys()) | (row.keys() - _REQUIRED - _OPTIONAL))
        raise ClaimError(f"{where}: the keys {wrong} are missing or unknown; compare with another claim.")
    if empty := [key for key in sorted(_REQUIRED) if not isinstance(row[key], str) or not row[key].strip()]:
        raise ClaimError(f"{where}: {empty[0]} must be a text that says something.")
    if not re.fullmatch(r"C\d\d", row["id"]) or not re.fullmatch(r"\d\d", row["lesson"]):
        raise ClaimError(f"{where}: an id is like C05 and a lesson like 12; correct them.")
    least = row.get("least", 0.0)
    if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least):
        raise ClaimError(f"{where}: least is {least!r}; give a finite number in the unit of the effect.")
    if not isinstance(row.get("quoted", []), list):
        raise ClaimError(f"{where}: quoted must be a list of quotes; compare with another claim.")
    quoted = tuple(_quote(each, where) for each in row.get("quoted", []))
    return Claim(**{**row, "least": float(least), "quoted": quoted})


def _quote(row: dict, where: str) -> Quote:
    """A quote is of use only if it can be looked up, so it has its DOI."""
    given = row if isinstance(row, dict) and row.keys() == {"numbers", "doi"} else {}
    given = {key: text if isinstance(text := given.get(key), str) else "" for key in ("numbers", "doi")}
    if not re.fullmatch(r"10\.\d{4,9}/\S+", given["doi"]) or not re.search(r"\d", given["numbers"]):
        raise ClaimError(f"{where}: a quote has `numbers` and the `doi` they come from, like 10.1148/ryai.230024; correct {row}.")
    return Quote(**row)

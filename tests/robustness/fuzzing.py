"""How this folder fuzzes: how many cases, what a mutation is, and the rule that every case is held to.

The rule: whatever is given to fmlab is taken, or refused by one of ``fmlab.errors`` in one sentence, soon; and no file that lay
there is lost or changed. FMLAB_FUZZ is the number of cases in all; each family takes its share. A case is repeated by its
family's name and its number.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings

from fmlab.errors import FmlabError

SHARES = {"nifti": 14, "nifti header": 10, "nrrd": 8, "dicom": 6, "label map": 4, "affine": 5, "no scan": 4,
          "check": 10, "exercise": 4, "names": 3,
          "data.toml": 4, "claims.toml": 3, "systems": 3, "ledger": 5, "recorded runs": 2, "recording": 3, "autosave": 3,
          "safetensors": 5, "official": 4, "checkpoint": 5, "adapter": 3, "phantom": 3,
          "progress": 5, "notebook": 2, "deliveries": 2}
"""Family -> its share of the cases, in parts of their sum."""
IN_THE_SUITE, FULL = 1_500, 10_000
PATIENCE = 30.0  # seconds of the clock that a single case may take on a loaded machine; it takes some thousandths
LONGEST = 1_000  # characters of a sentence, paths included


def cases(family: str) -> int:
    """How many cases a family runs: its share of FMLAB_FUZZ, which is IN_THE_SUITE where it is not set."""
    return max(4, round(int(os.environ.get("FMLAB_FUZZ", IN_THE_SUITE)) * SHARES[family] / sum(SHARES.values())))


def examples(family: str) -> settings:
    """Hypothesis' settings for a family: so many examples, always the same, nothing kept on the disk."""
    return settings(max_examples=cases(family), derandomize=True, database=None, deadline=None, print_blob=True,
                    phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck))


class Fuzz:
    """One family: its random generators, one a case, and what became of the cases."""

    def __init__(self, family: str) -> None:
        self.family, self.count, self.taken, self.refused, self._began = family, 0, 0, 0, time.process_time()

    def __iter__(self) -> Iterator[np.random.Generator]:
        for number in range(cases(self.family)):
            yield np.random.default_rng([zlib.crc32(self.family.encode()), number])

    def hold(self, act: Callable[[], object], folder: Path | None = None, but: Sequence[str] = ()) -> object:
        """Do a case and hold it to the rule; what came of it, or the FmlabError.

        folder: whose files have to stay. but: names of files that it may write, and of which it may not lose the content.
        """
        self.count += 1
        before = contents(folder, but)
        try:
            with soon():
                found = act()
        except FmlabError as error:
            sentence(error)
            self.refused += 1
            found = error
        except Exception as error:
            raise AssertionError(f"{self.family}, case {self.count}: {type(error).__name__}: {error}") from error
        else:
            self.taken += 1
        assert contents(folder, but) == before, f"{self.family}, case {self.count}: a file was lost, changed or added"
        return found

    def tell(self, both: bool = True) -> None:
        """Print the count. both: there have to be cases of both kinds, else the mutations are too tame or too wild."""
        seconds = time.process_time() - self._began
        print(f"\n{self.family}: {self.count} cases, {self.taken} taken, {self.refused} refused, {seconds:.1f} s")
        assert not both or (self.taken and self.refused), "all cases ended alike"


def sentence(error: BaseException) -> str:
    """The text of an error; AssertionError if it is not one short line that ends as a sentence does."""
    text = str(error)
    assert text.strip() and "\n" not in text and "\r" not in text, f"no single line: {text!r}"
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:300]!r} ..."
    assert text.rstrip()[-1] in ".?!", f"no sentence: {text!r}"
    return text


def contents(folder: Path | None, but: Sequence[str] = ()) -> dict[str, bytes]:
    """Path -> bytes of every file below a folder, but for those whose names begin with one of ``but``."""
    if folder is None:
        return {}
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(tuple(but) or "\0")}


class TooSlow(KeyboardInterrupt):
    """Not an Exception, so that no handler of the code under test takes it for a finding."""


@contextmanager
def soon() -> Iterator[None]:
    """Within it, a case that hangs ends after PATIENCE seconds in an AssertionError (where the system has timers)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    except TooSlow:
        raise AssertionError(f"it took more than {PATIENCE:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_WHOLE = np.array([-1, 0, 1, 2**15 - 1, 2**31 - 1, -2**31, 2**40], "<i8")
_REAL = np.array([np.nan, np.inf, -1.0, 0.0, 1e30, 1e-30], "<f4")


_CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (  # of a piece of 1 to 128 bytes
    lambda piece, rng: bytes([piece[0] ^ 1 << int(rng.integers(8))]) + piece[1:],
    lambda piece, rng: bytes([int(rng.choice([0, 1, 2, 127, 128, 254, 255]))]) + piece[1:],
    lambda piece, rng: rng.choice(_WHOLE).tobytes()[:min(4, len(piece))] + piece[4:],
    lambda piece, rng: rng.choice(_REAL).tobytes()[:len(piece)] + piece[4:],
    lambda piece, rng: b"",
    lambda piece, rng: piece * 2,
    lambda piece, rng: bytes(len(piece)),
    lambda piece, rng: rng.bytes(len(piece)),
)


def mutated(content: bytes, rng: np.random.Generator, head: int = 400) -> bytes:
    """1 to 4 changes, half in the first ``head`` bytes: bits and numbers overwritten, pieces cut, doubled or zeroed, noise."""
    data = content
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            return rng.bytes(int(rng.integers(0, 64)))
        at = int(rng.integers(min(head, len(data)) if rng.random() < 0.5 else len(data)))
        stop = at + 2 ** int(rng.integers(0, 8))
        kind = int(rng.integers(len(_CHANGES) + 1))
        data = data[:at] if kind == len(_CHANGES) else data[:at] + _CHANGES[kind](data[at:stop], rng) + data[stop:]
    return data


def _deep(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


ODD = (None, True, False, 0, -1, 1, 10**30, 0.5, -0.0, float("nan"), float("inf"), "", " ", "x", "nan", "../../x", "a\x00b",
       "\ud800", "é" * 300, [], [[]], [None], {}, {"": None}, {"a": 1}, _deep(40), "C:\\aux.nii", "<script>", [1, 2, 3],
       {"name": []})
"""What nobody expects as a value of JSON."""


def odd_json(found: object, rng: np.random.Generator) -> object:
    """A copy of something of JSON in which 1 to 3 places hold something else, or are gone, or have another name."""
    tree = deepcopy(found)
    for _ in range(int(rng.integers(1, 4))):
        node, depth = tree, int(rng.integers(1, 7))
        for level in range(depth):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if level + 1 < depth and isinstance(node[key], dict | list) and node[key]:
                node = node[key]
                continue
            kind = rng.random()
            if kind < 0.2:
                del node[key]
            elif kind < 0.3 and isinstance(node, dict):
                node[str(rng.choice(["", "x", "é", str(key).upper()]))] = node.pop(key)
            else:
                node[key] = deepcopy(ODD[int(rng.integers(len(ODD)))])
            break
    return tree


def odd_text(found: object, rng: np.random.Generator) -> bytes:
    """JSON as a damaged or tampered file holds it: mostly with odd values, sometimes with broken bytes."""
    text = json.dumps(odd_json(found, rng)).encode() if rng.random() < 0.7 else json.dumps(found).encode()
    if rng.random() < 0.02:
        return b"[" * 100_000
    return mutated(text, rng) if rng.random() < 0.35 else text

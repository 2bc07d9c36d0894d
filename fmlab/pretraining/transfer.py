"""Transfer: from what a pretext left to the model that is to be fine-tuned, with the checklist that its failures taught.

    report = transfer(model, pretrained, mae.TRANSFERS, arm="encoder", fed=COURSE, pool=data.patients, tested=test.patients)

1. Tensors: how many of the intended part arrived; below 95 % nothing is loaded. A lenient load of official Swin UNETR weights,
   whose names lack a prefix, loads nothing and says nothing: whole comparisons were run so.
2. Input: values, spacing and orientation as in pre-training, or the features are of another world.
3. Arms: ARMS are what is to be compared, with the same seeds, three or more, and few labels (1, 5, 20 cases).
4. Budget: scratch gets the same steps, tuning and rates; give all arms one ``TrainConfig``, and one with ``warmup`` beside.
5. Fresh: the head begins at random always; norms too, where ``fresh_norms`` asks for it.
6. Pool: no patient of the test set may lie in the unlabelled pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fmlab.errors import ModelError, TrainingError
from fmlab.hub.models import PREFIXES, WRAPPERS, LoadReport, unwrapped, without_prefixes

LEAST = 0.95  # of the intended tensors

ARMS: dict[str, tuple[tuple[str, ...], bool]] = {
    "scratch": ((), False),
    "encoder": (("encoder",), False),
    "encoder+decoder": (("encoder", "decoder"), False),
    "frozen": (("encoder",), True),
}
"""Arm -> which parts it takes over, and whether they are then kept as they are."""

@dataclass(frozen=True)
class Input:
    """What a network was fed. values: in words, from which range to which. spacing: mm, None where it was not made equal."""

    values: str
    spacing: float | None
    orientation: str = "RAS"

    def __str__(self) -> str:
        return f"{self.values}, {'any spacing' if self.spacing is None else f'{self.spacing:g} mm'}, {self.orientation}"


COURSE = Input("HU through windows.WIDE to [0, 1]", 8.0)
"""The course's pre-trained nano models (``pretraining.nano``), for pretext and task alike."""


@dataclass(frozen=True)
class Transfers:
    """What a method hands on. parts: those that its pretext trained. fed: what it was fed.

    inside: beginning of the names, in the pre-trained model, under which the backbone lies. named: from a checkpoint's name,
    without that and without "module.", to the backbone's.
    """

    parts: tuple[str, ...]
    fed: Input
    inside: str = ""
    named: Callable[[str], str] = str


@dataclass(frozen=True)
class TransferReport:
    """tensors: what matched, all names the model's but for ``unexpected``. expected: how many were intended. frozen, fresh: names
    of parameters; fresh ones begin anew."""

    arm: str
    tensors: LoadReport
    expected: int
    frozen: tuple[str, ...]
    fresh: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the intended tensors, those that arrived; 1 where none were intended."""
        return len(self.tensors.matched) / self.expected if self.expected else 1.0

    def __str__(self) -> str:
        return "\n".join(self.lines)


def transfer(
    model: nn.Module, weights: nn.Module | Mapping[str, Any], of: Transfers, arm: str = "encoder", fed: Input | None = None,
    pool: Iterable[str] = (), tested: Iterable[str] = (), fresh_norms: bool = False, least: float = LEAST,
    quiet: bool = False,
) -> TransferReport:
    """Put the pre-trained part of a backbone into the model, in place; prints (unless ``quiet``) and returns the checklist.

    model: a backbone or a ``Segmenter``. weights: the pre-trained model, or a state_dict as ``torch.load`` gives it. of: what the
    method hands on (``mae.TRANSFERS``, ...). arm: one of ARMS. fed: what the model will be fed. pool, tested: patients of the
    unlabelled pool and of the test set. least: share of the intended tensors below which is refused.

    Raises ModelError, with the model unchanged, where too little arrives, where the pretext did not train the part, for an input
    other than the pretext's, and for an unknown arm or backbone; TrainingError where pool and test set share patients.
    """
    if arm not in ARMS:
        raise ModelError(f"There is no arm {arm!r}; choose one of {', '.join(ARMS)}.")
    parts, freeze = ARMS[arm]
    if untrained := set(parts) - set(of.parts):
        raise ModelError(f"This pretext trained the {' and '.join(of.parts)} only, so arm {arm!r} has no {untrained.pop()} to "
                         "take; choose another arm.")
    if parts and fed is not None and fed != of.fed:
        raise ModelError(f"The weights were trained on {of.fed}, and the model would be fed {fed}; prepare the images as in "
                         "pre-training, or pre-train on images like yours.")
    pool, tested = set(pool), set(tested)
    if both := sorted(pool & tested):
        raise TrainingError(f"{len(both)} of {len(tested)} test patients lie in the unlabelled pool, as {both[0]!r}; "
                            "take them out.")
    state, intended = model.state_dict(), intended_keys(model, parts)
    report, matched = _compared(state, intended, weights, of)
    if intended and len(matched) < least * len(intended):
        raise ModelError(_too_little(report, len(intended), least))
    model.load_state_dict(matched, strict=False)
    norms = set(_norms(model)) if fresh_norms else set()
    for norm in norms:
        norm.reset_parameters()
    frozen = tuple(name for name, _ in model.named_parameters() if freeze and name in report.matched)
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    fresh = tuple(name for name, _ in model.named_parameters()
                  if name not in report.matched or model.get_submodule(name.rpartition(".")[0]) in norms)
    made = TransferReport(arm, report, len(intended), frozen, fresh, tuple(_lines(
        model, of, arm, report, len(intended), frozen, fresh, fed, pool, tested)))
    if not quiet:
        print(made)
    return made


def intended_keys(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Names of the model's tensors that belong to these parts of its backbone. ModelError where it has no known backbone."""
    where, backbone = _backbone(model)
    known = backbone.parts
    begins = tuple(begin for part in parts for begin in known[part])
    return [key for key in model.state_dict() if begins and key.startswith(where) and key.removeprefix(where).startswith(begins)]


def without_decoder(backbone: nn.Module) -> nn.Module:
    """The same backbone, in place, with nothing but what ``encode`` needs: for a pretext that trains the encoder only."""
    keep = backbone.parts["encoder"]
    for name, _ in list(backbone.named_children()):
        if not f"{name}.".startswith(keep):
            delattr(backbone, name)
    return backbone


def _backbone(model: nn.Module) -> tuple[str, nn.Module]:
    """Where in the model its first backbone lies ("backbone." or ""), and the backbone."""
    for name, module in model.named_modules():
        if hasattr(module, "parts"):
            return f"{name}." if name else "", module
    raise ModelError(f"{type(model).__name__} holds no backbone whose parts are known; give one of fmlab.backbones, or a module "
                     "that says its ``parts``.")


def _compared(state: dict[str, Tensor], intended: list[str], weights: nn.Module | Mapping[str, Any],
              of: Transfers) -> tuple[LoadReport, dict[str, Tensor]]:
    """What of the intended keys the weights hold, in the right shape."""
    theirs = {_plain(key, of): (key, value) for key, value in _tensors(weights).items()}
    matched, missing, misfit, used = {}, [], [], set()
    for key in intended:
        name, value = theirs.get(without_prefixes(key), (None, None))
        used.add(name)
        if value is None:
            missing.append(key)
        elif value.shape != state[key].shape:
            misfit.append(f"{key}: {tuple(value.shape)} for {tuple(state[key].shape)}")
        else:
            matched[key] = value
    aside = tuple(name for name, _ in theirs.values() if name not in used)
    return LoadReport(tuple(matched), tuple(missing), aside, tuple(misfit)), matched


def _tensors(weights: nn.Module | Mapping[str, Any]) -> dict[str, Tensor]:
    return weights.state_dict() if isinstance(weights, nn.Module) else unwrapped(weights, (*WRAPPERS, "network_weights"))


def _plain(key: str, of: Transfers) -> str:
    """A checkpoint's name as the backbone has it; what lies elsewhere than ``inside`` keeps a name that no backbone has."""
    key = without_prefixes(key, PREFIXES[:2])
    if not key.startswith(of.inside):
        return f"(elsewhere) {key}"
    return without_prefixes(of.named(key.removeprefix(of.inside)))


def _norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if "Norm" in type(module).__name__ and hasattr(module, "reset_parameters")]


def _too_little(report: LoadReport, expected: int, least: float) -> str:
    other = (*report.unexpected, "nothing else")[0]
    reason = (f"as {report.misfit[0]!r} is of another shape" if report.misfit else
              f"as the model's {report.missing[0]!r} is not there, while the weights have {other!r}")
    return (f"Only {len(report.matched)} of {expected} intended tensors match, {reason}; at least {least:.0%} must, so nothing "
            "was loaded: give the weights of the same backbone, and the Transfers that knows their names.")


def _lines(model: nn.Module, of: Transfers, arm: str, report: LoadReport, expected: int, frozen: tuple[str, ...],
           fresh: tuple[str, ...], fed: Input | None, pool: set[str], tested: set[str]) -> Iterable[str]:
    """The checklist, a line each."""
    parts = " and ".join(ARMS[arm][0]) or "nothing"
    count = len(report.matched)
    yield (f"1 tensors: {count} of {expected} matched ({count / expected if expected else 1:.1%} of {parts}), "
           f"{len(report.missing)} missing, {len(report.misfit)} of another shape; {len(report.unexpected)} of the weights' left "
           "aside")
    for title, keys in (("missing", report.missing), ("another shape", report.misfit), ("left aside", report.unexpected)):
        if keys:
            yield f"    {title}: {', '.join(keys[:6])}{f' and {len(keys) - 6} more' if len(keys) > 6 else ''}"
    yield f"2 input: trained on {of.fed}; {'what is fed now was not said, so see to it' if fed is None else 'fed the same'}"
    total = sum(1 for _ in model.parameters())
    yield f"3 arm: {arm}, {len(frozen)} of {total} parameters frozen; compare {', '.join(ARMS)}"
    yield "4 budget: the same TrainConfig for every arm, scratch included; seeds 3 or more; 1, 5 and 20 cases"
    where = ", ".join(sorted({_stem(name) for name in fresh}))
    yield f"5 fresh: {len(fresh)} parameters begin anew{': ' if fresh else ''}{where}"
    yield ("6 pool: not said who is in it and who is tested, so nobody was compared" if not (pool and tested) else
           f"6 pool: none of {len(tested)} test patients among its {len(pool)}")


def _stem(name: str) -> str:
    return without_prefixes(name).split(".")[0]

"""Models by name: build one from its registered name and config, put official weights into it, load the small ones that ship."""

from __future__ import annotations

import contextlib
import inspect
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.errors import FmlabError, ModelError
from fmlab.hub.official import weights_of

WEIGHTS = Path(__file__).with_name("weights")  # what ships: NAME-LABEL.safetensors
WRAPPERS = ("state_dict", "net", "model", "model_state_dict")  # where checkpoints keep the weights beside optimiser and epoch
PREFIXES = ("module.", "_orig_mod.", "backbone.")  # left by DataParallel, torch.compile and frames around a backbone


@dataclass(frozen=True)
class Architecture:
    """One named architecture. target: "module:function" that builds it."""

    name: str
    target: str


_REGISTRY: dict[str, Architecture] = {}


def register(name: str, target: str) -> None:
    """Make ``build(name, **config)`` call ``target``, "package.module:function", which is imported only then."""
    _REGISTRY[name] = Architecture(name, target)


register("nano", "fmlab.backbones.by_name:nano")
register("universal", "fmlab.pretraining.universal:universal")
register("genesis", "fmlab.pretraining.genesis:genesis")
register("mae", "fmlab.pretraining.mae:mae")
register("sparse_mae", "fmlab.pretraining.sparse_mae:sparse_mae")
register("swin_ssl", "fmlab.pretraining.swin_ssl:swin_ssl")
register("desd", "fmlab.pretraining.desd:desd")
register("unimiss", "fmlab.pretraining.unimiss:unimiss")
register("universeg", "fmlab.incontext.universeg:UniverSeg")
register("tyche", "fmlab.incontext.tyche:Tyche")
register("iris", "fmlab.incontext.iris:Iris")
for _diet in ("image_text", "image_text_specialist", "image_text_generalist"):
    register(_diet, "fmlab.contrastive.image_text:image_text")
register("flair", "fmlab.contrastive.flair:flair")
register("sam", "fmlab.interactive.sam:sam")
register("medsam", "fmlab.interactive.medsam:medsam")
register("ma_sam", "fmlab.interactive.ma_sam:ma_sam")
register("sam3d_adapter", "fmlab.interactive.sam3d_adapter:sam3d_adapter")
register("sam_med2d", "fmlab.interactive.sam_med2d:sam_med2d")
register("sam_med3d", "fmlab.interactive.sam_med3d:sam_med3d")
register("segvol", "fmlab.interactive.segvol:segvol")
register("clip_driven", "fmlab.pretraining.clip_driven:clip_driven")
register("nano_swin", "fmlab.backbones.by_name:nano_swin")
register("fseft", "fmlab.adaptation.fseft:fseft")
register("swin_unetr", "fmlab.backbones.by_name:swin_unetr")
register("suprem_unet", "fmlab.backbones.by_name:suprem_unet")
register("segresnet", "fmlab.backbones.by_name:segresnet")
register("dodnet", "fmlab.pretraining.dodnet:dodnet")
register("uniseg", "fmlab.pretraining.uniseg:uniseg")
register("hermes", "fmlab.pretraining.hermes:hermes")
register("multitalent", "fmlab.pretraining.multitalent:multitalent")
register("med3d", "fmlab.pretraining.med3d:med3d")


def names() -> list[str]:
    """All names that ``build`` knows."""
    return sorted(_REGISTRY)


def build(name: str, **config: Any) -> nn.Module:
    """A model with random weights, from its registered name and its config, which it remembers as ``model.recipe``.

    Raises ModelError with the near names for an unknown name, and for a config that the architecture does not take.
    """
    architecture = _architecture(name)
    module, function = architecture.target.split(":")
    make = getattr(import_module(module), function)
    try:
        model = make(**config)
    except FmlabError:
        raise
    except Exception as error:  # torch's layers raise many kinds for a width of -1
        raise ModelError(f"{name} does not take {_as_call(config)}: {_short(error)}; {_options(make)}.") from error
    model.recipe = {"name": name, "config": config}
    return model


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint and a model had in common. matched, missing: the model's keys. unexpected: the checkpoint's.

    misfit: "key: (theirs) for (ours)", entries of the same name and another shape.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misfit: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected"]
        for title in ("missing", "unexpected", "misfit"):
            keys = getattr(self, title)
            if keys:
                lines.append(f"  {title}: {', '.join(keys[:8])}{f' and {len(keys) - 8} more' if len(keys) > 8 else ''}")
        return "\n".join(lines)


def load_official(
    model: nn.Module, state_dict: dict[str, Any], allow_missing: Sequence[str] = (), allow_unexpected: Sequence[str] = (),
    quiet: bool = False,
) -> LoadReport:
    """Put published weights into a model under their official key names; prints (unless ``quiet``) and returns what matched.

    state_dict: as ``torch.load`` gives it, wrapped in "state_dict" or "net" or not, with "module." and "backbone." or not.
    allow_missing: keys of the model, beginnings of them ("head.") or patterns ("*.num_batches_tracked"), in official or in our
    words, that keep their values where the checkpoint lacks them or holds another shape. allow_unexpected: the same for keys of
    the checkpoint that are left aside, such as a head that a bare backbone has no place for.

    Raises ModelError, with the model unchanged, where more than that is missing, unexpected or of another shape.
    """
    state, renames = model.state_dict(), _renames(model)
    prefixes = PREFIXES
    if len({_plain(key, renames) for key in state}) < len(state):  # "backbone." tells two of the model's own keys apart
        prefixes, renames = PREFIXES[:2], ()
    ours = {_plain(key, renames, prefixes): key for key in state}
    theirs: dict[str, tuple[str, Tensor]] = {}
    for key, value in unwrapped(state_dict).items():
        if (plain := _plain(key, renames, prefixes)) in theirs:
            raise ModelError(f"The checkpoint holds {plain!r} twice, as {theirs[plain][0]!r} and {key!r}; keep one of the two.")
        theirs[plain] = key, value
    report, matched = _compare(state, ours, theirs, allow_missing, renames)
    if not quiet:
        print(report)
    wrong = [key for key in report.missing if not _named(key, allow_missing, renames)]
    strange = [key for key in report.unexpected if not _named(key, allow_unexpected, renames)]
    if wrong or strange or report.misfit:
        raise ModelError(
            f"The weights do not fit {type(model).__name__}, which was left unchanged: {len(wrong)} missing, "
            f"{len(strange)} unexpected, {len(report.misfit)} of another shape, as in {(*report.misfit, *wrong, *strange)[0]!r}; "
            "build it with the config of these weights, or name in allow_missing and allow_unexpected what may differ.")
    model.load_state_dict(matched, strict=False)
    return report


def load(name: str, weights: str | Path = "nano", **config: Any) -> nn.Module:
    """A model with trained weights, in eval mode on the CPU.

    weights: a label of weights that ship with the course ("nano"), "official", or the path of a file: our .safetensors, which
    carries its config, or an official .pt/.pth, for which ``config`` builds the model. ``config`` may not contradict the file's.

    Raises ModelError for an unknown name, for weights that do not exist, and for what ``load_official`` refuses.
    """
    _architecture(name)
    if weights == "official":
        known = "; or ".join(map(str, weights_of(name)))
        where = f"download them from {known}, and give the file's path" if known else "none are known"
        raise ModelError(f"The official weights of {name} are not fetched by fmlab; {where}.")
    path = Path(weights)
    if not path.suffix:
        path = WEIGHTS / f"{name}-{weights}.safetensors"
    if not path.is_file():
        raise ModelError(f"There are no weights {str(weights)!r} of {name} at {path}; {_shipped()}.")
    model = _from_ours(name, path, config) if path.suffix == ".safetensors" else _from_official(name, path, config)
    return model.eval()


def save(model: nn.Module, path: str | Path, **notes: Any) -> Path:
    """Write a model made by ``build`` as .safetensors with its name, config and notes (seed, command ...), by atomic rename."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if not hasattr(model, "recipe"):
        raise ModelError(f"{type(model).__name__} was not made by hub.build, so its config is unknown; build it by name.")
    path = Path(path)
    draft = path.with_name(f".fmlab-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
        save_file(tensors, draft, metadata={"fmlab": json.dumps({**model.recipe, "notes": notes})})
        draft.chmod(0o644)  # safetensors makes files that only their owner can read
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written ({_short(error)}); make room, or choose another place.") from error
    finally:
        with contextlib.suppress(OSError):  # a folder that is none, or cannot be written, holds no draft either
            draft.unlink(missing_ok=True)
    return path


def _from_ours(name: str, path: Path, config: dict[str, Any]) -> nn.Module:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get("fmlab", "{}"))
            state = {key: file.get_tensor(key) for key in file.keys()}
        if not (isinstance(said, dict) and isinstance(said.get("config", {}), dict)):
            raise ValueError("what it says of its model is no table")
    except Exception as error:  # safetensors, torch and json raise many kinds
        raise ModelError(f"{path} cannot be read as safetensors ({_short(error)}); fetch or train it again.") from error
    if said and said.get("name") != name:
        raise ModelError(f"{path} holds weights of {said.get('name')}, not of {name}; load it under that name.")
    stored = said.get("config", {})
    differs = [key for key, value in config.items() if said and _as_json(stored.get(key)) != _as_json(value)]
    if differs:
        raise ModelError(f"{path} was trained with {_as_call(stored)}, not with another {differs[0]}; leave that out.")
    _refuse_larger(path, name, {**config, **stored}, sum(tensor.numel() for tensor in state.values()))
    model = build(name, **{**config, **stored})
    load_official(model, state, quiet=True)  # all of it matches, or it is refused
    return model


def _refuse_larger(path: Path, name: str, config: dict[str, Any], held: int) -> None:
    """ModelError for a file that says it is of a larger model than its numbers can fill, before any memory is taken for that."""
    said = max(_numbers(config), default=0)
    if said <= max(held, 1 << 16):  # a width or a depth is not more than the numbers that come of it
        with torch.random.fork_rng(devices=[]), torch.device("meta"), contextlib.suppress(Exception):
            said = sum(tensor.numel() for tensor in build(name, **config).state_dict().values())
    if said > max(held, 1 << 16):
        raise ModelError(f"{path} says {_as_call(config)}, a model of {said} numbers or more, and holds {held}; it is damaged, "
                         "so fetch or train it again.")


def _numbers(value: Any) -> Iterator[float]:
    """Every number in a config, however deep."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value


def _from_official(name: str, path: Path, config: dict[str, Any]) -> nn.Module:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: UnpicklingError, RuntimeError, EOFError, OSError ...
        raise ModelError(f"{path} cannot be read as plain weights ({_short(error)}); fetch it again, and check its source."
                         ) from error
    model = build(name, **config)
    load_official(model, state)
    return model


def _architecture(name: str) -> Architecture:
    if name not in _REGISTRY:
        near = get_close_matches(str(name), _REGISTRY, n=3, cutoff=0.4) or names()
        raise ModelError(f"There is no model {name!r}; did you mean {' or '.join(near)}?")
    return _REGISTRY[name]


def _shipped() -> str:
    labels = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
    return f"what ships: {', '.join(labels)}" if labels else "none ship with this version, so train some or give a file's path"


def _options(make: Any) -> str:
    """The options of a builder, also of the class that it hands its config to."""
    return f"see {make.__module__}.{make.__name__}{inspect.signature(make)}"


def _as_call(config: dict[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in config.items()) or "no options"
    return text if len(text) <= 300 else f"{text[:297]}..."


def _short(error: Exception) -> str:
    """The first line of what a library says, or the kind of its error."""
    return (str(error).strip().split("\n")[0][:200] or type(error).__name__).rstrip(".")


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))  # a tuple comes back as a list


def unwrapped(state: Mapping[str, Any], wrappers: Sequence[str] = WRAPPERS) -> dict[str, Tensor]:
    """The tensors by name of what ``torch.load`` gives, in a wrapper or not. ModelError where there are none."""
    for _ in range(9):  # a wrapper may hold a wrapper, but in a file that was made to do harm perhaps itself
        inside = [state[name] for name in wrappers if isinstance(state, Mapping) and isinstance(state.get(name), Mapping)]
        state = inside[0] if inside else state
    tensors = isinstance(state, Mapping) and {key: value for key, value in state.items()
                                              if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ModelError("The checkpoint holds no tensors by name; give the dictionary that torch.load returns.")
    return tensors


def _renames(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """(official beginning, our beginning) pairs that the model or one of its parts declares as ``official_keys``."""
    return tuple(pair for part in model.modules() for pair in getattr(part, "official_keys", ()))


def without_prefixes(key: str, prefixes: Sequence[str] = PREFIXES) -> str:
    """A key without the prefixes that it begins with."""
    while prefix := next((p for p in prefixes if key.startswith(p)), ""):
        key = key.removeprefix(prefix)
    return key


def _plain(key: str, renames: tuple[tuple[str, str], ...], prefixes: Sequence[str] = PREFIXES) -> str:
    """A key without prefixes that come and go, and with official words replaced by ours."""
    key = without_prefixes(key, prefixes)
    for official, own in renames:
        if key.startswith(official):
            return own + key.removeprefix(official)
    return key


def _compare(
    state: dict[str, Tensor], ours: dict[str, str], theirs: dict[str, tuple[str, Tensor]], allow_missing: Sequence[str],
    renames: tuple[tuple[str, str], ...],
) -> tuple[LoadReport, dict[str, Tensor]]:
    matched, missing, misfit = {}, [], []
    for plain, key in ours.items():
        if plain not in theirs:
            missing.append(key)
        elif theirs[plain][1].shape != state[key].shape or not _has_values(theirs[plain][1]):
            if _named(key, allow_missing, renames):
                missing.append(key)
            else:
                misfit.append(f"{key}: {tuple(theirs[plain][1].shape)} for {tuple(state[key].shape)}")
        else:
            matched[key] = theirs[plain][1]
    unexpected = [key for plain, (key, _) in theirs.items() if plain not in ours]
    return LoadReport(tuple(matched), tuple(missing), tuple(unexpected), tuple(misfit)), matched


def _has_values(tensor: Tensor) -> bool:
    """Whether it is an ordinary tensor of real numbers: not sparse, quantised, complex, or without its storage."""
    return not (tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex())


def _named(key: str, allowed: Sequence[str], renames: tuple[tuple[str, str], ...]) -> bool:
    """Whether a key, in any of its forms, is one of ``allowed``, begins with one of them, or fits one as a pattern."""
    wanted = (allowed,) if isinstance(allowed, str) else allowed
    plain = _plain(key, renames)
    return any(
        form == a or form.startswith(a.removesuffix(".") + ".") or fnmatch(form, a)
        for word in wanted for a in (word, _plain(word, renames)) for form in (key, plain))

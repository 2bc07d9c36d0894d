"""Exercises of lesson 17: what is trained with the decoder, a head of old and new rows, the size prior's penalty."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fmlab.adaptation import size_prior
from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception


class Names(list):
    """A list of names that ``check`` can compare before and after: as an array it is a number for each."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.array([zlib.crc32(name.encode()) for name in self], dtype=dtype or np.float64)


# ---- 17-trained: names, peft -> which are trained

NamesInput = tuple[Names, Names]
_BLOCK = ("norm1.weight", "norm1.bias", "attn.relative_position_bias_table", "attn.qkv.weight", "attn.qkv.bias",
          "attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias", "mlp.linear1.weight", "mlp.linear1.bias",
          "mlp.linear2.weight", "mlp.linear2.bias")
_DECODER, _HEAD = "backbone.decoder", "head."


def _swin(rng: np.random.Generator, qkv: Sequence[str] = (), head: Sequence[str] = ("head.weight", "head.bias")) -> Names:
    """The names of a small Swin UNETR's parameters, shuffled. qkv: what stands for ``attn.qkv.weight`` and its bias."""
    names = ["backbone.swinViT.patch_embed.proj.weight", "backbone.swinViT.patch_embed.proj.bias", *head]
    for layer in (1, 2, 3):
        for tensor in [name for name in _BLOCK if not qkv or "qkv" not in name] + [f"attn.qkv.{name}" for name in qkv]:
            names.append(f"backbone.swinViT.layers{layer}.0.blocks.0.{tensor}")
    names += [f"backbone.encoder{level}.layer.conv{n}.conv.weight" for level in (1, 2, 3, 10) for n in (1, 2)]
    for level in (1, 2, 3, 4):
        names += [f"backbone.decoder{level}.transp_conv.conv.weight", f"backbone.decoder{level}.conv_block.conv1.conv.weight"]
    return Names(rng.permutation(names).tolist())


def _decoder_alone(rng: np.random.Generator) -> NamesInput:
    return _swin(rng), Names()


def _with_lora(rng: np.random.Generator) -> NamesInput:
    names = _swin(rng, ("base.weight", "base.bias", "A", "B"))
    return names, Names(name for name in names if name.endswith((".A", ".B")))


def _with_bitfit(rng: np.random.Generator) -> NamesInput:
    names = _swin(rng)
    return names, Names(name for name in names if "blocks" in name and "norm" not in name and "bias" in name)


def _with_spatial(rng: np.random.Generator) -> NamesInput:
    names = _swin(rng, head=("head.0.W1", "head.0.W2", "head.1.weight", "head.1.bias"))
    return names, Names(name for name in names if name.startswith("head.0"))


def _trained(names: Sequence[str], peft: Sequence[str], begins: tuple[str, ...] = (_DECODER, _HEAD)) -> list[bool]:
    return [name in set(peft) or name.startswith(begins) for name in names]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _whole_layers(names: Names, peft: Names) -> list[bool]:
    layers = {_layer(name) for name in peft}
    return [name.startswith((_DECODER, _HEAD)) or any(name.startswith(f"{layer}.") for layer in layers) for name in names]


def _flags(function: Callable, rng: np.random.Generator) -> bool:
    """Whether the answer is one True or False (or 1 or 0) for each name."""
    names, peft = _with_lora(rng)
    answer = function(names, peft)
    try:
        return len(answer) == len(names) and set(map(int, answer)) <= {0, 1}
    except (TypeError, ValueError):
        return False


TRAINED = Exercise(
    id="17-trained",
    task="`trained(names, peft)` -> one True or False for each of a Swin UNETR's parameter names: trained are the decoder, the "
         "head and what the PEFT method has chosen or added (the names in `peft`); all else is frozen, the blocks on the skips "
         "too.",
    reference=_trained,
    meets="fmlab.adaptation.sites.in_part",
    cases=(
        Case("the decoder alone, no PEFT", _decoder_alone, "Three groups are trained: names that begin with `backbone.decoder`, "
                                                           "names that begin with `head.`, and names in `peft`."),
        Case("decoder + LoRA", _with_lora, "What LoRA added is in `peft`; the layer that it stands beside is not."),
        Case("decoder + BitFit", _with_bitfit, "A selective method adds nothing: `peft` names tensors of the base model."),
        Case("decoder + spatial adapter", _with_spatial, "Behind an adapter the head's tensors are called `head.1.weight` and "
                                                         "`head.1.bias`, so look at how the names begin."),
    ),
    misconceptions=(
        Misconception("You train the blocks on the skips. They are called `encoder1` to `encoder10`, and one may take them for "
                      "part of either side; FSEFT freezes them, and in the published network they hold more than half of all "
                      "parameters.", lambda names, peft: _trained(names, peft, ("backbone.encoder", _DECODER, _HEAD))),
        Misconception("You train the whole transformer: with decoder and head that is nearly full fine-tuning. The encoder is "
                      "`swinViT`, whatever the blocks on the skips are called, and of it only what is in `peft` is trained.",
                      lambda names, peft: _trained(names, peft, ("backbone.swinViT", _DECODER, _HEAD))),
        Misconception("You name the head's two tensors, and behind a spatial adapter they are called `head.1.weight` and "
                      "`head.1.bias`: here the new row would stay random. Look at how the names begin.",
                      lambda names, peft: _trained(names, [*peft, "head.weight", "head.bias"], (_DECODER,))),
        Misconception("You forget the head. A new organ's row begins at random: frozen, it stays a random mixture of features.",
                      lambda names, peft: _trained(names, peft, (_DECODER,))),
        Misconception("You forget the decoder: what is left is the PEFT method with a head, as for known organs.",
                      lambda names, peft: _trained(names, peft, (_HEAD,))),
        Misconception("You forget PEFT: its names are in `peft`, whatever they are called.",
                      lambda names, peft: _trained(names, ())),
        Misconception("You train everything: that is full fine-tuning, and `peft` decides nothing.",
                      lambda names, peft: [True] * len(names)),
        Misconception("You train whole layers: of the layer that LoRA stands beside the base weights, of BitFit's layer the "
                      "weight. Trained is exactly what is in `peft`.", _whole_layers),
        Misconception("Your answer is upside down: True is for what is trained.",
                      lambda names, peft: [not each for each in _trained(names, peft)]),
    ),
    invariants=(Invariant("Give one True or False for each name, in the order of `names`, and not the "
                          "names themselves.", _flags),),
    hints=(
        "Go through `names`; of each ask three things: decoder, head, or named in `peft`?",
        "`name.startswith((\"backbone.decoder\", \"head.\"))` asks two of them at once; a tuple of beginnings will do.",
        "`[name in peft or name.startswith((\"backbone.decoder\", \"head.\")) for name in names]`.",
    ),
)


# ---- 17-head: base, own, wanted, fresh -> weight, bias of the new head

Head = tuple[Tensor, Tensor]
HeadInput = tuple[Head, Names, Names, Head]
_KNOWN = ("liver", "spleen", "aorta", "kidney_left", "stomach", "heart")
_NEW = ("sternum", "heart_ventricle_left", "gluteus_maximus_left")
_CHANNELS = 5


def _rows(rng: np.random.Generator, count: int) -> Head:
    weight, bias = rng.normal(size=(count, _CHANNELS)), rng.normal(size=count)
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()


def _heads(rng: np.random.Generator, wanted: Sequence[str]) -> HeadInput:
    return _rows(rng, len(_KNOWN)), Names(_KNOWN), Names(wanted), _rows(rng, len(wanted))


def _all_new(rng: np.random.Generator) -> HeadInput:
    return _heads(rng, _NEW)


def _mixed(rng: np.random.Generator) -> HeadInput:
    """A new one first, so that the known ones are in other places than the base model has them."""
    return _heads(rng, ["sternum", "stomach", "gluteus_maximus_left", "spleen"])


def _as_before(rng: np.random.Generator) -> HeadInput:
    return _heads(rng, _KNOWN)


def _put_together(base: Head, own: Names, wanted: Names, fresh: Head, rows: Callable[[str, int], tuple[Tensor, Tensor]]) -> Head:
    weights, biases = zip(*(rows(name, k) for k, name in enumerate(wanted)))
    return torch.stack(weights), torch.stack(biases)


def _head(base: Head, own: Names, wanted: Names, fresh: Head) -> Head:
    def row(name: str, k: int) -> tuple[Tensor, Tensor]:
        source, place = (base, own.index(name)) if name in own else (fresh, k)
        return source[0][place], source[1][place]
    return _put_together(base, own, wanted, fresh, row)


def _by_place(base: Head, own: Names, wanted: Names, fresh: Head) -> Head:
    def row(name: str, k: int) -> tuple[Tensor, Tensor]:
        source = base if name in own else fresh
        return source[0][k], source[1][k]
    return _put_together(base, own, wanted, fresh, row)


def _new_rows(weight: float | None, bias: float | None) -> Callable[..., Head]:
    """The right head, but with a constant for the new rows' weights or biases."""
    def formula(base: Head, own: Names, wanted: Names, fresh: Head) -> Head:
        right = _head(base, own, wanted, fresh)
        new = torch.tensor([name not in own for name in wanted])
        return tuple(part if value is None else torch.where(new.view(-1, *[1] * (part.ndim - 1)), value, part)
                     for part, value in zip(right, (weight, bias)))
    return formula


def _known_first(base: Head, own: Names, wanted: Names, fresh: Head) -> Head:
    right, order = _head(base, own, wanted, fresh), sorted(range(len(wanted)), key=lambda k: wanted[k] not in own)
    return right[0][order], right[1][order]


def _grown(base: Head, own: Names, wanted: Names, fresh: Head) -> Head:
    new = [k for k, name in enumerate(wanted) if name not in own]
    return torch.cat([base[0], fresh[0][new]]), torch.cat([base[1], fresh[1][new]])


def _has_its_own_memory(function: Callable, rng: np.random.Generator) -> bool:
    """Training the new head must not move the base model's, whatever is asked for."""
    for make in (_as_before, _mixed):
        base, own, wanted, fresh = make(rng)
        before = [part.clone() for part in base]
        for part in function(base, own, wanted, fresh):
            part += 1.0
        if not all(torch.equal(part, kept) for part, kept in zip(base, before)):
            return False
    return True


HEAD = Exercise(
    id="17-head",
    task="`head(base, own, wanted, fresh)` -> (weight, bias): base and fresh are pairs, weight (K, C) and bias (K,); own names "
         "the rows of base, wanted those of the new head. A structure that is in own gets its row of base, weight and bias; "
         "another one keeps the row of fresh in its place. The base model's head must stay as it is when the new one is trained.",
    reference=_head,
    meets="fmlab.adaptation.heads.head_for",
    cases=(
        Case("three new structures", _all_new, "None is known: all rows are those of `fresh`."),
        Case("two known and two new structures", _mixed,
             "`own.index(name)` says which row of base a known structure has; for a new one it raises ValueError, so ask `name "
             "in own` first. In the new head the row stands where `wanted` has it."),
        Case("all that the base model knows, and nothing else", _as_before, "All rows are the base model's, copied."),
    ),
    misconceptions=(
        Misconception("You copy by place: row k of the base model into row k, whatever it means there. Structures are found by "
                      "name: `own.index(name)`.", _by_place),
        Misconception("You forget the bias. A rare structure has a bias far below 0; with another one the known organ begins "
                      "everywhere or nowhere, and its zero-shot Dice is lost.",
                      lambda base, own, wanted, fresh: (_head(base, own, wanted, fresh)[0], fresh[1].clone())),
        Misconception("You keep nothing of the base model: a known organ need not begin at random, its row is there.",
                      lambda base, own, wanted, fresh: tuple(part.clone() for part in fresh)),
        Misconception("You put the known ones first. The channels must stand as `wanted` has them, or the labels mean something "
                      "else.", _known_first),
        Misconception("Your head has all the rows of the base model and the new ones behind them. It is asked for `wanted` "
                      "alone.",
                      _grown),
        Misconception("Your new rows are 0. They would learn, but the protocol begins them at random, as `fresh` has them.",
                      _new_rows(0.0, 0.0)),
        Misconception("The new rows' weights are 0. They would learn, but the protocol begins them at random, as `fresh` has "
                      "them.", _new_rows(0.0, None)),
        Misconception("The new rows' biases are 0; take those of `fresh`.", _new_rows(None, 0.0)),
    ),
    invariants=(
        Invariant("Your new head shares memory with the base model's: training one moves the other, and the old organs are lost "
                  "without a word. Copy: `.clone()`, or assign into a tensor of its own.", _has_its_own_memory),
    ),
    hints=(
        "Begin with copies of `fresh`, then go through `wanted` and overwrite the rows of what is known.",
        "`weight, bias = fresh[0].clone(), fresh[1].clone()`, and `for k, name in enumerate(wanted)`.",
        "In the loop: `if name in own:`, `row = own.index(name)`, `weight[k], bias[k] = base[0][row], base[1][row]`.",
    ),
)


# ---- 17-size: share, expected, margin -> penalty

SizeInput = tuple[Tensor, float, float]


def _share(rng: np.random.Generator, expected: float, lowest: float, highest: float) -> SizeInput:
    """A share from ``lowest`` to ``highest`` times the expected one."""
    return torch.tensor(expected * float(rng.uniform(lowest, highest)), dtype=torch.float64), expected, 0.3


def _wrong_size(rng: np.random.Generator) -> SizeInput:
    """A large organ of which little is found, or several times a small one."""
    if rng.random() < 0.5:
        return _share(rng, float(rng.uniform(0.5, 0.9)), 0.05, 0.3)
    return _share(rng, float(rng.uniform(0.05, 0.12)), 2, 8)


def _near(rng: np.random.Generator) -> SizeInput:
    return _share(rng, float(rng.uniform(0.05, 0.3)), 0.85, 1.15)


def _e(share: Tensor, expected: float) -> Tensor:
    return size_prior.error(share, expected)


def _above(size: Tensor, margin: float) -> Tensor:
    return torch.clamp(size - margin, min=0)


def _gradient(function: Callable, share: float, expected: float, margin: float) -> float | None:
    """d penalty / d share, or None where there is none to be had."""
    leaf = torch.tensor(share, dtype=torch.float64, requires_grad=True)
    value = function(leaf, expected, margin)
    if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
        return None
    return float(torch.autograd.grad(value, leaf)[0])


def _right_gradient(share: float, expected: float, margin: float) -> float:
    return _gradient(size_prior.penalty, share, expected, margin)


def _is_one_number(function: Callable, rng: np.random.Generator) -> bool:
    return np.shape(torch.as_tensor(function(*_wrong_size(rng))).detach()) == ()


def _trains(function: Callable, rng: np.random.Generator) -> bool:
    return all(_gradient(function, share, 0.1, 0.3) is not None for share in (0.02, 0.5))


def _denominator_detached(function: Callable, rng: np.random.Generator) -> bool:
    """For an organ five times too large: 1 / p, and not t / p^2, five times less."""
    found = _gradient(function, 0.5, 0.1, 0.3)
    return found is None or not np.isclose(found, 0.1 / 0.5 ** 2, rtol=1e-3)


def _pushes_right(function: Callable, rng: np.random.Generator) -> bool:
    for share, expected, margin in ((0.02, 0.1, 0.3), (0.5, 0.1, 0.3), (0.11, 0.1, 0.3)):
        found = _gradient(function, share, expected, margin)
        if found is not None and not np.isclose(found, _right_gradient(share, expected, margin), rtol=1e-3, atol=1e-6):
            return False
    return True


SIZE = Exercise(
    id="17-size",
    task="`penalty(share, expected, margin)` -> max(|e| - margin, 0) with e = (expected - share) / max(share, expected). share "
         "is a tensor with gradient; the denominator is taken as a constant, so that no gradient goes through it.",
    reference=size_prior.penalty,
    meets="fmlab.adaptation.size_prior.penalty",
    cases=(
        Case("an organ about as large as expected", _near, "Within the margin the penalty is 0: people differ."),
        Case("organs found too small or too large", _wrong_size,
             "Too small: e is positive, and its denominator is `expected`. Too large: e is negative, its denominator is `share`, "
             "and |e| counts.", draws=8),
    ),
    misconceptions=(
        Misconception("Your margin is a gate: beyond it the whole |e| counts, and the penalty jumps there. Take the margin off: "
                      "|e| - margin.",
                      lambda share, expected, margin: _e(share, expected).abs() * (_e(share, expected).abs() > margin)),
        Misconception("You leave the margin out: then everybody is pushed to the size of the support set's mean, also who is "
                      "rightly smaller.", lambda share, expected, margin: _e(share, expected).abs()),
        Misconception("You do not stop at 0: within the margin |e| - margin is negative, and pays for sizes that are just right.",
                      lambda share, expected, margin: _e(share, expected).abs() - margin),
        Misconception("Only an organ too small costs something in yours; |e| counts, in both directions.",
                      lambda share, expected, margin: _above(_e(share, expected), margin)),
        Misconception("Only an organ too large costs something in yours; |e| counts, in both directions.",
                      lambda share, expected, margin: _above(-_e(share, expected), margin)),
        Misconception("You compare voxels, not sizes: without the denominator a small organ never leaves the margin. Divide by "
                      "max(share, expected).", lambda share, expected, margin: _above((expected - share).abs(), margin)),
        Misconception("You divide by the expected share always. Then an organ ten times too large costs 9 and one that is "
                      "missing costs 1; with max(share, expected) |e| is at most 1 on both sides.",
                      lambda share, expected, margin: _above((expected - share).abs() / expected, margin)),
        Misconception("You divide by the predicted share always: for an organ that is hardly found it is nearly 0, and the "
                      "penalty explodes. Divide by max(share, expected).",
                      lambda share, expected, margin: _above((expected - share).abs() / share, margin)),
        Misconception("You divide by the smaller of the two; it is the larger one, so that |e| is at most 1.",
                      lambda share, expected, margin: _above(
                          (expected - share).abs() / torch.clamp(share, max=expected), margin)),
        Misconception("You square e; the penalty is its absolute value less the margin.",
                      lambda share, expected, margin: _above(_e(share, expected).square(), margin)),
        Misconception("You have |e| + margin where the organ is too large. So has the published code, and its gradient is the "
                      "same; but the penalty then jumps from 0 to twice the margin. Take the margin off on "
                      "both sides.", size_prior.coded),
    ),
    invariants=(
        Invariant("Your penalty is not one number.", _is_one_number),
        Invariant("Your penalty cannot train: it is cut off from `share`. Detach the denominator alone, and keep tensors: "
                  "`float()`, `.item()`, and `max()` of Python on a detached share lose the gradient.", _trains),
        Invariant("The value is right, and your gradient goes through the denominator too: for an organ far too large it is t / "
                  "p² in place of 1 / p, so the worse the error, the weaker the push. Detach it: `share.detach()`.",
                  _denominator_detached),
        Invariant("The value of your penalty is right, but its gradient is not.", _pushes_right),
    ),
    hints=(
        "Three steps: the denominator, e, and the penalty of e.",
        "`torch.clamp(share.detach(), min=expected)` is max(share, expected) as a constant.",
        "`e = (expected - share) / torch.clamp(share.detach(), min=expected)`, and `torch.clamp(e.abs() - margin, min=0)`.",
    ),
    tolerance=1e-5,
)

EXERCISES = (TRAINED, HEAD, SIZE)

"""Typical wrong answers to the exercises of lesson 05, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from fmlab.errors import ModelError


def logits_of(features, head):
    return torch.einsum("kc,cxyz->kxyz", head, features)


def costs(z, labels, datasets, heads, **how):
    return [F.cross_entropy(logits_of(z[n], heads[datasets[n]])[None], labels[n][None], **how) for n in range(len(z))]


def branch_sum_of_samples(z, labels, datasets, heads):
    return torch.stack(costs(z, labels, datasets, heads)).sum()


def branch_sum_of_voxels(z, labels, datasets, heads):
    return torch.stack(costs(z, labels, datasets, heads, reduction="sum")).mean()


def branch_without_background(z, labels, datasets, heads):
    return torch.stack(costs(z, labels, datasets, heads, ignore_index=0)).mean()


def branch_two_softmaxes(z, labels, datasets, heads):
    return torch.stack([F.cross_entropy(logits_of(z[n], heads[d]).softmax(0)[None], labels[n][None])
                        for n, d in enumerate(datasets)]).mean()


def branch_sigmoids(z, labels, datasets, heads):
    found = []
    for n, d in enumerate(datasets):
        target = torch.stack([labels[n] == k for k in range(len(heads[d]))]).float()
        found.append(F.binary_cross_entropy_with_logits(logits_of(z[n], heads[d]), target))
    return torch.stack(found).mean()


def branch_first(z, labels, datasets, heads):
    return F.cross_entropy(torch.einsum("kc,bcxyz->bkxyz", heads[0], z), labels)


def branch_of_first_sample(z, labels, datasets, heads):
    return F.cross_entropy(torch.einsum("kc,bcxyz->bkxyz", heads[datasets[0]], z), labels)


def branch_all(z, labels, datasets, heads):
    return torch.stack([F.cross_entropy(torch.einsum("kc,bcxyz->bkxyz", head, z), labels) for head in heads]).mean()


def branch_one_softmax(z, labels, datasets, heads):
    every = torch.einsum("kc,bcxyz->bkxyz", torch.cat(heads), z)
    moved = torch.stack([labels[n] + sum(len(head) for head in heads[:d]) for n, d in enumerate(datasets.tolist())])
    return F.cross_entropy(every, moved)


def branch_datasets_first(z, labels, datasets, heads):
    found = costs(z, labels, datasets, heads)
    by_dataset = {d: [cost for cost, other in zip(found, datasets.tolist()) if other == d] for d in datasets.tolist()}
    return torch.stack([torch.stack(group).mean() for group in by_dataset.values()]).mean()


def branch_not_averaged(z, labels, datasets, heads):
    return torch.stack(costs(z, labels, datasets, heads))


def branch_item(z, labels, datasets, heads):
    return sum(cost.item() for cost in costs(z, labels, datasets, heads)) / len(z)


def branch_touches_others(z, labels, datasets, heads):
    return torch.stack(costs(z, labels, datasets, heads)).mean() + sum(head.sum() - head.sum().detach() for head in heads)


def branch_batched(z, labels, datasets, heads):
    return F.cross_entropy(torch.einsum("bkc,bcxyz->bkxyz", torch.stack([heads[d] for d in datasets]), z), labels)


def plain(name):
    return name.removeprefix("module.").removeprefix("backbone.")


def transferred(state, weights, name_of=plain, intended=lambda name: name.startswith("backbone."), least=0.95):
    theirs = {name_of(name): value for name, value in weights.items()}
    tensors, fresh = [], []
    for name, own in state.items():
        other = theirs.get(name_of(name)) if intended(name) else None
        taken = other is not None and other.shape == own.shape
        tensors.append(other if taken else own)
        fresh.append(not taken)
    backbone = [new for name, new in zip(state, fresh) if name.startswith("backbone.")]
    if sum(backbone) > (1 - least) * len(backbone):
        raise ModelError("too little")
    return tensors, fresh


def transfer_strict_false(state, weights):
    """What ``load_state_dict(strict=False)`` leaves, of tensors that fit."""
    fits = {name: value for name, value in weights.items() if name in state and value.shape == state[name].shape}
    return [fits.get(name, own) for name, own in state.items()], [name not in fits for name in state]


def transfer_head_too(state, weights):
    return transferred(state, weights, intended=lambda name: True)


def transfer_head_of_any_shape(state, weights):
    theirs = {plain(name): value for name, value in weights.items()}
    return [theirs.get(plain(name), own) for name, own in state.items()], [plain(name) not in theirs for name in state]


def transfer_ignores_prefix(state, weights):
    return transferred(state, weights, name_of=lambda name: name)


def transfer_module_only(state, weights):
    return transferred(state, weights, name_of=lambda name: name.removeprefix("module."))


def transfer_freezes_the_new(state, weights):
    """The flags of who wants to freeze by them what was taken over, and freezes what is new."""
    tensors, fresh = transferred(state, weights)
    return tensors, [not new for new in fresh]


def transfer_by_order(state, weights):
    tensors, fresh = [], []
    for (name, own), other in zip(state.items(), weights.values()):
        taken = name.startswith("backbone.") and own.shape == other.shape
        tensors.append(other if taken else own)
        fresh.append(not taken)
    return tensors, fresh


def transfer_any_shape(state, weights):
    theirs = {plain(name): value for name, value in weights.items()}
    taken = [name.startswith("backbone.") and plain(name) in theirs for name in state]
    return [theirs[plain(name)] if yes else own for (name, own), yes in zip(state.items(), taken)], [not yes for yes in taken]


def transfer_all_or_nothing(state, weights):
    return transferred(state, weights, least=1)


def transfer_counts_the_head(state, weights):
    tensors, fresh = transferred(state, weights, least=0)
    if fresh.count(False) / len(fresh) < 0.95:
        raise ModelError("too little")
    return tensors, fresh


def transfer_counts_the_checkpoint(state, weights):
    tensors, fresh = transferred(state, weights, least=0)
    if fresh.count(False) / len(weights) < 0.95:
        raise ModelError("too little")
    return tensors, fresh


def transfer_never_refuses(state, weights):
    return transferred(state, weights, least=0)


def transfer_refuses_nothing_only(state, weights):
    tensors, fresh = transferred(state, weights, least=0)
    if all(fresh):
        raise ModelError("nothing")
    return tensors, fresh


def transfer_tensors_only(state, weights):
    return transferred(state, weights)[0]


def transfer_dictionary(state, weights):
    tensors, fresh = transferred(state, weights)
    return dict(zip(state, tensors)), fresh


def transfer_matched_only(state, weights):
    tensors, fresh = transferred(state, weights)
    return [tensor for tensor, new in zip(tensors, fresh) if not new], fresh


def transfer_names(state, weights):
    tensors, fresh = transferred(state, weights)
    return tensors, [name for name, new in zip(state, fresh) if new]


def transfer_key_error(state, weights):
    theirs = {plain(name): value for name, value in weights.items()}
    taken = [name.startswith("backbone.") and theirs[plain(name)].shape == own.shape for name, own in state.items()
             if name.startswith("backbone.")]
    tensors, fresh = transferred(state, weights)
    return tensors, fresh if taken else []


def transfer_in_place(state, weights):
    tensors, fresh = transferred(state, weights)
    for own, tensor in zip(state.values(), tensors):
        own.copy_(tensor)
    return list(state.values()), fresh


WRONG = {
    "05-branch": [
        (branch_sum_of_samples, "add up the samples"), (branch_sum_of_voxels, "add up the voxels"),
        (branch_without_background, "leave the background out"), (branch_two_softmaxes, "comes twice"),
        (branch_sigmoids, "take sigmoids"), (branch_first, "through the first branch"),
        (branch_of_first_sample, "branch of its first sample"), (branch_all, "through every branch"),
        (branch_one_softmax, "into one softmax"), (branch_datasets_first, "within each data set first"),
        (branch_not_averaged, "not one number"), (branch_item, "cannot train"), (branch_touches_others, "gets a gradient"),
        (branch_batched, "one by one"),
    ],
    "05-transfer": [
        (transfer_strict_false, "in silence"), (transfer_head_too, "happens to fit"),
        (transfer_head_of_any_shape, "without looking at its shape"), (transfer_ignores_prefix, "DataParallel leaves"),
        (transfer_module_only, "refuse the bare backbone"), (transfer_freezes_the_new, "upside down"),
        (transfer_by_order, "by their order"), (transfer_any_shape, "of another shape, which"),
        (transfer_all_or_nothing, "as soon as one"), (transfer_counts_the_head, "count the head"),
        (transfer_counts_the_checkpoint, "*checkpoint's* tensors"), (transfer_never_refuses, "without a word"),
        (transfer_refuses_nothing_only, "quiet gap"), (transfer_tensors_only, "tensors alone"),
        (transfer_dictionary, "are a dictionary"), (transfer_matched_only, "for *each* name"),
        (transfer_names, "one True or False for each"), (transfer_key_error, "stops with KeyError"),
        (transfer_in_place, "changes its input"),
    ],
}

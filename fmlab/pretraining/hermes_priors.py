"""What Hermes knows before it looks: a learned token for each task, ten for each modality, and their meeting with an image.

    priors   = [tokens of the asked tasks, ten tokens of the modality]
    priors   = priors + attention(priors, features)         what this image has to say about them
    features = features + attention(features, priors)       what they have to say about this image

A feed-forward layer follows each of the two. What has become of the priors by then are the posteriors, of which a task's
prototype is made.

Source: Gao et al. 2024, doi:10.48550/arXiv.2306.02416, and its released code, whose names are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.pretraining.task_ids import task_ids

NULL = -1
"""Fills up the list of a sample that is asked fewer tasks than another of its batch."""

TOKENS = 10  # of each modality

Asked = Sequence[int] | Sequence[Sequence[int]] | Tensor


class MLP(nn.Module):
    """Two linear layers, GELU between them: (..., inputs) to (..., outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, h: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(h)))


class PreNorm(nn.Module):
    """h + fn(norm(h))."""

    def __init__(self, channels: int, fn: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-4)
        self.fn = fn

    def forward(self, h: Tensor) -> Tensor:
        return h + self.fn(self.norm(h))


class Attention(nn.Module):
    """Queries (B, Q, C) gather from a context (B, N, C) what it holds for them: (B, Q, C)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(channels, 2 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.heads = heads

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        k, v = self.to_kv(context).chunk(2, -1)
        q, k, v = (h.unflatten(-1, (self.heads, -1)).transpose(1, 2) for h in (self.to_q(queries), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Gather(nn.Module):
    """queries + attention(norm(queries), norm(context))."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.fn = Attention(channels, heads)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        return queries + self.fn(self.norm1(queries), self.norm2(context))


class Exchange(nn.Module):
    """One layer of the two attentions: features (B, N, C) and priors (B, P, C) in and out, the priors first to learn."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.prior_aggregate_block = Gather(channels, heads)
        self.prior_ffn = PreNorm(channels, MLP(channels, 4 * channels, channels))
        self.feat_aggregate_block = Gather(channels, heads)
        self.feat_ffn = PreNorm(channels, MLP(channels, 4 * channels, channels))

    def forward(self, features: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
        priors = self.prior_ffn(self.prior_aggregate_block(priors, features))
        return self.feat_ffn(self.feat_aggregate_block(features, priors)), priors


class Priors(nn.Module):
    """The two tables of one level and the layers in which they meet its features; each level has its own.

    tasks, modalities: how many of each. channels: C of the level. heads: of each attention. depth: layers; 0 in Hermes-M, whose
    blocks attend by themselves.
    """

    def __init__(self, tasks: int, modalities: int, channels: int, heads: int = 1, depth: int = 0):
        super().__init__()
        self.task_prior = nn.Parameter(nn.init.xavier_uniform_(torch.empty(tasks + 1, channels)))  # the last one is NULL's
        self.modality_prior = nn.Parameter(nn.init.xavier_uniform_(torch.empty(modalities, TOKENS, channels)))
        self.attn_layers = nn.ModuleList(Exchange(channels, heads) for _ in range(depth))

    def tokens(self, task: Tensor, modality: Tensor) -> Tensor:
        """(B, K + 10, C), tasks first, of task (B, K) and modality (B,)."""
        return torch.cat([self.task_prior[task], self.modality_prior[modality]], 1)

    def forward(self, h: Tensor, task: Tensor, modality: Tensor) -> tuple[Tensor, Tensor]:
        """The level's features (B, C, X, Y, Z) with the priors heard, and the posteriors (B, K + 10, C)."""
        features, priors = h.flatten(2).transpose(1, 2), self.tokens(task, modality)
        for layer in self.attn_layers:
            features, priors = layer(features, priors)
        return features.transpose(1, 2).unflatten(2, h.shape[2:]), priors


class Prototypes(nn.Module):
    """One vector a task from its posteriors of all levels: (B, K, width) to (B, K, channels); logits are its dot products."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classifier_pred = nn.Sequential(MLP(width, width, channels), MLP(channels, channels, channels))

    def forward(self, posteriors: Tensor) -> Tensor:
        return self.classifier_pred(self.norm(posteriors))


class ModalityHead(nn.Module):
    """Which modality it was, read from the posteriors of its tokens: (B, 10, width) to (B, modalities)."""

    def __init__(self, width: int, modalities: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classifier = MLP(width, width, modalities)

    def forward(self, posteriors: Tensor) -> Tensor:
        return self.classifier(self.norm(posteriors).mean(1))


def by_prototype(h: Tensor, prototypes: Tensor) -> Tensor:
    """Logits (B, K, X, Y, Z): features (B, C, X, Y, Z) dot prototypes (B, K, C), a 1x1x1 convolution of each sample's own."""
    return torch.einsum("bcxyz,bkc->bkxyz", h, prototypes)


def asked_tasks(task: Asked, x: Tensor, tasks: int) -> Tensor:
    """(B, K) int64 on the device of x (B, ...): the tasks that each sample is asked.

    task: one list for all samples, or a list for each, filled up with NULL to the longest; or a tensor (K,) or (B, K).
    ModelError where they are not whole numbers from 0 to tasks - 1, or NULL.
    """
    if not isinstance(task, Tensor) and any(isinstance(row, Sequence) for row in task):
        longest = max(map(len, task))
        task = [[*row, *[NULL] * (longest - len(row))] for row in task]
    ids = torch.as_tensor(task, device=x.device)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.ndim not in (1, 2) or not ids.numel() \
            or ids.ndim == 2 and len(ids) != len(x):
        raise ModelError(f"The tasks were given as {task!r} for {len(x)} samples; give one list of whole numbers for all, or one "
                         "for each sample.")
    if not NULL <= int(ids.min()) <= int(ids.max()) < tasks:
        raise ModelError(f"Not all of the tasks {task!r} are known; the model has {tasks}, numbered 0 to {tasks - 1}, and {NULL} "
                         "asks for none.")
    return ids.long().expand(len(x), -1)


def modality_ids(modality: int | Sequence[int] | Tensor, x: Tensor, modalities: int) -> Tensor:
    """(B,) int64 on the device of x (B, ...): one modality for all or one a sample, from 0 on; NULL is the last, "unknown"."""
    ids = torch.as_tensor(modality, device=x.device)
    try:
        return task_ids(torch.where(ids == NULL, modalities - 1, ids), x, modalities)
    except ModelError as error:
        raise ModelError(f"The modality was given as {modality!r} for {len(x)} samples; give one for all or one a sample, each "
                         f"from 0 to {modalities - 1}, or {NULL} if it is unknown.") from error

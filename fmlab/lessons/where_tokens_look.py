"""Where the tokens of a prompt look in the image: the weights of SAM's cross-attention, as maps."""

from __future__ import annotations

import torch
from torch import Tensor

from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.preprocess_sam import postprocess
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.two_way import Attention


@torch.no_grad()
def where_tokens_look(predictor: SamPredictor, prompts: Prompts, layer: int = 0) -> Tensor:
    """(T, H, W): what each token reads of the image in that layer of the decoder, on the image's pixels, 1 where it reads most.

    Tokens: that of the predicted IoU, those of the four masks, then the clicks and the two corners of a box, a filling one where
    there is no box. Heads are averaged.
    """
    attention = predictor.model.mask_decoder.transformer.layers[layer].cross_attn_token_to_image
    kept: list[Tensor] = []
    hook = attention.register_forward_pre_hook(lambda module, given: kept.append(weights(module, *given[:2])))
    try:
        predictor.predict(prompts)
    finally:
        hook.remove()
    maps = postprocess(kept[0].unflatten(-1, predictor.features.shape[-2:]), predictor.frame)[0].cpu()
    return maps / maps.amax((1, 2), keepdim=True)


def weights(attention: Attention, q: Tensor, k: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)), the mean over heads: q (B, N, C) and k (B, M, C) to (B, N, M); rows add up to 1."""
    queries, keys = attention.split(attention.q_proj(q)), attention.split(attention.k_proj(k))
    return (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(-1).mean(1)

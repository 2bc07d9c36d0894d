"""SAM's two-way transformer: prompt tokens ask the image, and the image answers to the prompt tokens.

    tokens <- self-attention, tokens <- image, tokens <- MLP, image <- tokens          twice; then once more tokens <- image

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A, "lightweight mask decoder", figure 14. Norms come after each sum, and
positions are added anew at each attention: of the tokens, what they were at the start; of the image, its dense encoding.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.interactive.image_encoder import MLP


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V, with the inner width divided by ``smaller``."""

    def __init__(self, channels: int, heads: int, smaller: int = 1):
        super().__init__()
        self.heads, inner = heads, channels // smaller
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None = None) -> Tensor:
        """q (B, N, C) reads v (B, M, C) by keys k (B, M, C). absent (B, M) bool: keys that are not there."""
        q, k, v = (self.split(project(x)) for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        mask = None if absent is None else ~absent[:, None, None]
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """One round. first: tokens have no position of their own yet, and self-attention takes their place instead of being added."""

    def __init__(self, channels: int, heads: int, hidden: int, first: bool, smaller: int = 2):
        super().__init__()
        self.first = first
        self.self_attn, self.norm1 = Attention(channels, heads), nn.LayerNorm(channels)
        self.cross_attn_token_to_image, self.norm2 = Attention(channels, heads, smaller), nn.LayerNorm(channels)
        self.mlp, self.norm3 = MLP(channels, hidden, nn.ReLU()), nn.LayerNorm(channels)
        self.norm4, self.cross_attn_image_to_token = nn.LayerNorm(channels), Attention(channels, heads, smaller)

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, absent: Tensor | None = None
                ) -> tuple[Tensor, Tensor]:
        """tokens (B, T, C) and image (B, N, C), both changed."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, absent)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens, absent)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        return tokens, self.norm4(image + self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens, absent))


class TwoWayTransformer(nn.Module):
    """depth rounds, and a last look of the tokens at the image. hidden: width of the MLP. smaller: of the cross-attentions."""

    def __init__(self, channels: int, heads: int = 8, hidden: int = 2048, depth: int = 2, smaller: int = 2):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(channels, heads, hidden, i == 0, smaller) for i in range(depth))
        self.final_attn_token_to_image = Attention(channels, heads, smaller)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C) and image (B, N, C) after both have read each other.

        image (B, C, *grid), image_pe (B or 1, C, *grid), tokens (B, T, C); absent (B, T) bool marks tokens that nobody may read,
        which lets prompts of different numbers of points share a call.
        """
        image, image_pe = (x.flatten(2).transpose(1, 2) for x in (image, image_pe))
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe, absent)
        read = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + read), image

"""CrossBlock of UniverSeg: the query looks at every support example, and every support example at the query.

    z_j = CrossConv(u, v_j)          u' = a(Conv(1/S sum_j z_j))          v'_j = a(Conv'(z_j))

Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, equations 2 and 3. a is LeakyReLU(0.01). The paper writes an
activation around z_j too; the released network has none, and that is what makes the fast form below exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.incontext.cross_conv import CrossConv, OverSet


class CrossBlock(nn.Module):
    """One block. inputs: channels (query, support) that come in. widths: (C_x, C_v) after the cross and the second
    convolution."""

    mean_is_enough = True  # ``last`` uses nothing of the supports but their mean

    def __init__(self, inputs: tuple[int, int], widths: tuple[int, int]):
        super().__init__()
        self.cross = CrossConv(inputs, widths[0])
        self.target = OverSet(*widths)
        self.support = OverSet(*widths)

    def forward(self, u: Tensor, v: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """u (B, 1, C_u, H, W), v (B, S, C_v, H, W) to u' (B, 1, C, H, W), v' (B, S, C, H, W). chunk: supports at a time.

        Mean first, convolution second: with Wu + b computed once, 1/S sum_j z_j = Wu * u + b + Wv * mean_j v_j.
        """
        once = self.cross.of_target(u)
        parts = [self.support(once + self.cross.of_support(part)) for part in v.split(chunk or v.shape[1], dim=1)]
        return self.query(once, v), parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def last(self, u: Tensor, v: Tensor) -> Tensor:
        """u' alone, where nobody asks for v'. v may be the supports (B, S, C_v, H, W) or already their mean (B, 1, C_v, H, W)."""
        return self.query(self.cross.of_target(u), v)

    def query(self, once: Tensor, v: Tensor) -> Tensor:
        """u' of W_u * u + b and the supports."""
        return self.target(once + self.cross.of_support(v.mean(1, keepdim=True)))

    def literal(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The same by the letter of the equations: S pairs, S convolutions of all channels, then the mean."""
        z = self.cross(u, v)[:, 0]  # (B, S, C_x, H, W): there is one query
        return self.target(z.mean(1, keepdim=True)), self.support(z)

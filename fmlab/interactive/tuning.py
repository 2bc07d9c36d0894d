"""From SAM to a variant: which of SAM's weights it takes over, and which of its own are then trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport, load_official


def take_over(model: nn.Module, sam: Mapping[str, Tensor], named: Callable[[str], str] = str, new: Sequence[str] = (),
              loose: Sequence[str] = (), quiet: bool = False) -> LoadReport:
    """Put SAM's weights into a variant of it; prints (unless ``quiet``) and returns what matched. Positions are resized to fit.

    sam: the ``state_dict`` of a SAM, as its checkpoint holds it. named: SAM's name for an entry of the model. new: patterns of
    the model's entries that keep their own values, though SAM may have something of that name; loose: of those that do so where
    SAM has none or one of another shape. The report calls them missing, and SAM's entries that have no place unexpected. Raises
    ModelError, with the model unchanged, where any other does not fit.
    """
    ours = model.state_dict()
    kept = {key for key in ours if any(fnmatch(key, pattern) for pattern in new)}
    taken = {key: resized(key, sam[named(key)], ours[key]) for key in ours if key not in kept and named(key) in sam}
    left = {key: value for key, value in sam.items() if key not in {named(key) for key in ours}}
    if not taken:
        raise ModelError("Not one entry of these weights is SAM's; give the state_dict of a SAM, by its official names.")
    return load_official(model, taken | left, allow_missing=[*new, *loose], allow_unexpected=list(left), quiet=quiet)


def resized(key: str, value: Tensor, like: Tensor) -> Tensor:
    """SAM's absolute or relative positions for a grid of another size: interpolated, not aligned at the corners."""
    if key.endswith("pos_embed") and value.shape[1:3] != like.shape[1:3]:
        whole = F.interpolate(value.movedim(-1, 1), size=like.shape[1:3], mode="bilinear", align_corners=False)
        return whole.movedim(1, -1)
    if ".rel_pos_" in key and len(value) != len(like):
        return F.interpolate(value.T[None], size=len(like), mode="linear", align_corners=False)[0].T
    return value


def train_only(model: nn.Module, trained: Callable[[str], bool]) -> list[nn.Parameter]:
    """The parameters whose names fit, for an optimiser; all others are frozen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]

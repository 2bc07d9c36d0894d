"""SegVol's words: the name of a structure as the vector that its decoder reads.

    "A computerized tomography of a liver."  ->  CLIP's text tower, 512 numbers  ->  W, b  ->  768 numbers

Source: Du et al. 2023, arXiv:2311.13385; Radford et al. 2021 (CLIP), arXiv:2103.00020. The tower needs the package transformers
and CLIP's tokenizer, which fmlab does not bring. Where they are, ``ClipText`` makes the vectors, and ``save_table`` keeps them;
without them a table made elsewhere serves as well, for the tower is frozen: a name's vector never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError

TEMPLATE = "A computerized tomography of a {}."
Table = Mapping[str, Tensor]  # name -> (channels,)


class ClipText(nn.Module):
    """The published tower, with random weights until a checkpoint is loaded: names and parameters are those of its text_encoder.

    tokenizer: the folder of CLIP's tokenizer on this machine, or its name in transformers' cache (openai/clip-vit-base-patch32).
    channels: of SegVol's tokens. Raises ModelError where transformers or the tokenizer is not there.
    """

    def __init__(self, tokenizer: str | Path, channels: int = 768):
        super().__init__()
        try:
            from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel
        except ImportError as error:
            raise ModelError("SegVol's text tower needs the package transformers, which is not installed; install it, or give a "
                             "table of vectors, or prompt by clicks and boxes.") from error
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelError(f"There is no CLIP tokenizer at {str(tokenizer)!r}; fetch openai/clip-vit-base-patch32 first, and "
                             "give its folder.") from error
        config = CLIPTextConfig()
        self.clip_text_model = CLIPTextModel(config)
        self.dim_align = nn.Linear(config.hidden_size, channels)

    @torch.no_grad()
    def forward(self, names: Sequence[str]) -> Tensor:
        """Vectors (N, channels) of N names, such as "liver" or "left kidney"."""
        device = self.dim_align.weight.device
        tokens = self.tokenizer([TEMPLATE.format(name) for name in names], padding=True, return_tensors="pt")
        read = self.clip_text_model(**{key: value.to(device) for key, value in tokens.items()})
        return self.dim_align(read.pooler_output)


def save_table(path: str | Path, table: Table) -> Path:
    """Keep vectors by name as .safetensors, for machines without the tower."""
    from safetensors.torch import save_file

    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    save_file({name: vector.detach().cpu().contiguous().clone() for name, vector in table.items()}, draft)
    draft.replace(path)
    return path


def read_table(path: str | Path) -> dict[str, Tensor]:
    """What ``save_table`` wrote. Raises ModelError for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is no table of vectors ({error}); make one by save_table.") from error


def looked_up(table: Table, names: Sequence[str]) -> Tensor:
    """Vectors (N, channels) of names in a table. Raises ModelError for a name that it lacks."""
    lacking = [name for name in names if name not in table]
    if lacking or not names:
        raise ModelError(f"The table of texts has no {', '.join(lacking) or 'name to look up'}; it knows {', '.join(table)}.")
    return torch.stack([table[name] for name in names])

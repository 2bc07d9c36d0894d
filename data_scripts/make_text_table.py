"""Make ``fmlab/pretraining/sentences.safetensors``: the vocabulary's prompts as all-MiniLM-L6-v2 reads them, 384 numbers each.

    pip install "fmlab[text]" && python data_scripts/make_text_table.py

Seconds on one core; the same file each time, up to rounding to half precision.
"""

from __future__ import annotations

from fmlab.pretraining.text_embeddings import SHIPPED, Sentences, save_table
from fmlab.vocabulary import STRUCTURES

if __name__ == "__main__":
    names = [structure.name for structure in STRUCTURES]
    table = Sentences()(names)
    table = table / table.norm(dim=1, keepdim=True)
    save_table(SHIPPED, names, table)
    likeness = table @ table.T
    likeness.fill_diagonal_(-1)
    print(f"{len(names)} names, {table.shape[1]} channels, {SHIPPED.stat().st_size / 1024:.0f} KB, {SHIPPED}")
    for row, name in enumerate(names[:60:6]):
        nearest = likeness[6 * row].topk(3)
        print(f"  {name}: near " + ", ".join(f"{names[i]} {v:.2f}" for v, i in zip(nearest.values, nearest.indices.tolist())))

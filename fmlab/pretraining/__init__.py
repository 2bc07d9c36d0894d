"""Pre-training one network on many partly annotated data sets (section 3.A of the course).

D_T = {(X_n, Y_n, w_n)}: scan n, its K target masks, and w_nk = 1 where its data set annotates class k. ``targets`` makes Y and w
from a label volume; ``masked`` has the losses that use w; ``unmasked`` what goes wrong without it; ``published`` further systems.

Without labels: ``genesis``, ``swin_ssl``, ``mae``, ``sparse_mae``, ``desd`` and ``unimiss`` are each a corruption, a loss and
what it hands on; ``unlabelled`` gives them cubes, ``transfer`` takes over what they learned.
"""

"""Prints the realism table of fmlab/phantom/README.md: the real CT beside 24 phantoms.

Needs the real CT: ``fmlab data get totalsegmentator-ct``.
"""

from fmlab.cohorts import load
from fmlab.phantom.realism import compare, table

if __name__ == "__main__":
    print(table(compare(load("totalsegmentator-ct"))))

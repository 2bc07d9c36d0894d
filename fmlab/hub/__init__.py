"""The hub: registries of data (and, later, of weights) with address, sha256, licence and citation; ``fmlab.hub.data`` fetches."""

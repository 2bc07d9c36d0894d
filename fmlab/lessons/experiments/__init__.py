"""The experiments behind the claims: one file a claim, each with ``run(seed, ...) -> claims.Run``."""

"""The hub: registries of data and of models, with address, sha256, licence and citation; ``fmlab.hub.data`` fetches.

    model = hub.build("nano", classes=30)            # architecture from its name and config
    hub.load_official(model, state_dict)             # official key names; strict; says what did not match
    model = hub.load("nano", weights="path.safetensors")
"""

from fmlab.hub.models import build, load, load_official, save

__all__ = ["build", "load", "load_official", "save"]

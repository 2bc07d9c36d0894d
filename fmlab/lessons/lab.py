"""JupyterLab for the course: on this machine only, token on, no news and no update look-ups."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SETTINGS = Path(__file__).with_name("jupyter")


def arguments(folder: Path, lesson: str | None, port: int, browser: bool, token: str) -> list[str]:
    """The command line of JupyterLab. folder: its root. lesson: the notebook to open, by its stem. browser: open one."""
    given = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url={_page(lesson)}",
        f"--IdentityProvider.token={token}",  # wins over a configuration of the user's that turns the token off
        "--PasswordIdentityProvider.hashed_password=",
        "--ServerApp.allow_remote_access=False",
        "--ServerApp.log_level=WARN",  # the address stays in sight
    ]
    if not browser:
        given.append("--ServerApp.open_browser=False")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--allow-root")  # in a container there is often no other user
    return given


def start(folder: Path, lesson: str | None = None, port: int = 8888, browser: bool = True) -> None:
    """Serve the course folder until Ctrl-C, in this process: the token stands in no other process's list of arguments.

    folder: the learner's. lesson: the notebook to open, by its stem. port: the first one to try.
    """
    from jupyterlab.labapp import LabApp

    os.environ["FMLAB_COURSE"] = str(folder.resolve())  # the kernels inherit it: progress is kept there
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH"))))
    token = secrets.token_hex(24)
    server = LabApp.initialize_server(argv=arguments(folder.resolve(), lesson, port, browser, token))
    # Jupyter hides a token that it was given; without a browser the learner needs it, on this terminal only
    print(f"\nOpen this address, if no browser opens by itself; stop with Ctrl-C here:\n"
          f"    http://127.0.0.1:{server.port}{_page(lesson)}?token={token}\n", flush=True)
    server.start()


def _page(lesson: str | None) -> str:
    return f"/lab/tree/{lesson}.ipynb" if lesson else "/lab"

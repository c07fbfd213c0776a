"""The sdist and the wheel: what is in them, and that they install into an empty environment."""

import re
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # builds, and installs from the package index
MAX_BYTES = 25e6
PACKAGES = ("sed", "streaming", "train")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder with an sdist and the wheel that is built from it."""
    pytest.importorskip("build", reason="needs the dev extra")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr
    return folder


def tracked():
    """Return the files of the repository that git knows."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a git checkout")
    return done.stdout.splitlines()


def test_they_are_small_and_their_metadata_is_valid(built):
    files = sorted(built.iterdir())
    assert [re.sub(r"-[\d.]+\d", "", file.name) for file in files] == [
        "sed_engine-py3-none-any.whl",
        "sed_engine.tar.gz",
    ]
    assert all(file.stat().st_size <= MAX_BYTES for file in files)
    pytest.importorskip("twine", reason="needs the dev extra")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    found = {name for name in names if ".dist-info/" not in name}
    assert found == {name for name in tracked() if name.split("/")[0] in PACKAGES}


def test_the_sdist_builds_the_tests_and_the_documentation_too(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert not {name for name in found if name.startswith((".ci", "runs", "out", ".venv"))}
    expected = {name for name in tracked() if name.split("/")[0] in (*PACKAGES, "tests", "docs")}
    assert expected <= found


def test_the_wheel_runs_in_an_empty_environment(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "environment", with_pip=True)
    bin_folder = tmp_path / "environment" / ("Scripts" if sys.platform == "win32" else "bin")
    command = [bin_folder / "python", "-m", "pip", "install", "--quiet", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr
    example = ROOT / "examples" / "village.ogg"
    done = subprocess.run(
        [bin_folder / "sed", "detect", example, "--classes", "rooster,dog,siren"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"SED_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"},
    )
    labels = [line.split(",")[3] for line in done.stdout.splitlines()[1:]]
    assert labels == ["rooster", "dog", "siren"], done.stderr
    program = "import sed, train, streaming, importlib.util as i; print(i.find_spec('torch'))"
    done = subprocess.run(
        [bin_folder / "python", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "None\n", done.stderr

"""Check pages for people who use a screen reader, or see little contrast, with axe-core.

axe-core is no package of Python: it is downloaded from the npm registry once a session, or taken
from ``$SED_AXE``, the path of ``axe.min.js``.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

PACKAGE = "axe-core@4.11"


def axe_source(folder):
    """Return the source of axe-core, downloaded into a folder."""
    if given := os.environ.get("SED_AXE"):
        return Path(given).read_text("utf-8")
    if shutil.which("npm") is None:
        pytest.skip("needs npm, or axe.min.js as $SED_AXE")
    command = ["npm", "pack", "--silent", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("axe-core cannot be downloaded")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as members:
        return members.extractfile("package/axe.min.js").read().decode()


def findings(page, axe):
    """Return what axe-core finds serious or critical on a page, and how much it could check."""
    page.evaluate(axe)
    result = page.evaluate("axe.run(document)")
    found = [
        (each["id"], node["html"], [check["message"] for check in node["any"]])
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
    return found, len(result["passes"])

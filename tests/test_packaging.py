"""What is installed: the wheel's files, and what an import of the package pulls in."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent


def output(*command: str, cwd: Path = ROOT) -> str:
    """What the command prints; its own complaint is the failure's message."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_only_the_package(tmp_path: Path) -> None:
    """A wheel built from what git would commit holds every file of the package and no other."""
    listed = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = [name for name in listed.split("\0") if (ROOT / name).is_file()]
    for name in files:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    output(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)),
        cwd=tmp_path / "source",
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(ZipFile(wheel).namelist())
    assert "flowevents/py.typed" in held
    assert {name for name in held if ".dist-info/" not in name} == {
        name for name in files if name.startswith("flowevents/")
    }


def test_an_import_pulls_in_only_blinker_and_msgspec() -> None:
    """`import flowevents` loads no display, no extra, no demo's client and no pocketflow."""
    loaded = output(
        *(sys.executable, "-c"),
        "import sys; before = set(sys.modules); import flowevents\n"
        "for name in set(sys.modules) - before: print(name)",
    ).split()
    assert not {"sqlite3", "hashlib"} & set(loaded)
    for kept_out in ("flowevents.journal", "flowevents.workers", "flowevents.engine.executors"):
        assert not [name for name in loaded if name.startswith(kept_out)]  # most runs need none
    third_party = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert third_party <= {"flowevents", "blinker", "msgspec", "typing_extensions"}

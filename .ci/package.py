"""Builds sdist and wheel, and checks what is in them and that the wheel imports."""

import email
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable

with tempfile.TemporaryDirectory() as folder:
    subprocess.run([PYTHON, "-m", "build", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")

    inside = zipfile.ZipFile(wheel)
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "hhjax").rglob("*") if p.suffix in (".py", ".typed")}
    shipped = {name for name in inside.namelist() if ".dist-info/" not in name}
    assert shipped == sources, f"wheel: missing {sources - shipped}, too many {shipped - sources}"
    assert "hhjax/py.typed" in shipped

    (about,) = (name for name in inside.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_string(inside.read(about).decode())
    assert metadata["Name"] == "hhjax" and metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier") and metadata["Keywords"]
    assert metadata["Description-Content-Type"] == "text/markdown"

    names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
    wanted = {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "mkdocs.yml",
        "tests/conftest.py",
        "docs/index.md",
    }
    assert wanted <= names, f"sdist: missing {wanted - names}"

    site = Path(folder) / "site"
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    code = "import hhjax; print(hhjax.__file__, hhjax.__version__)"
    run = subprocess.run(
        [PYTHON, "-c", code],
        env={"PYTHONPATH": str(site)},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    file, version = run.stdout.split()
    assert Path(file).is_relative_to(site) and version == metadata["Version"], run.stdout
    print(f"{wheel.name}: {len(shipped)} files; {sdist.name}: {len(names)} files; hhjax {version} imports")

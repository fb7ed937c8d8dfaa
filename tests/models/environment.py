"""Where things are kept and the Python environment they are built in. Needs the standard library only."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
# requirements.txt pins the wheels of these versions: Debian 12 has 3.11, Debian 13 has 3.13.
PYTHONS = ((3, 11), (3, 12), (3, 13))
# Does not decide what is built.
NOT_INPUTS = ("build.py", "environment.py", "test_generator.py", "test_models.py")

STARTED = time.monotonic()


def say(text):
    print(f"models {time.monotonic() - STARTED:4.0f} s  {text}", file=sys.stderr, flush=True)


def cache():
    return Path(os.environ.get("SMALLFLEET_CACHE") or Path.home() / ".cache" / "smallfleet").resolve()


def digest(paths, *more):
    """Twelve hex digits over the names and contents of `paths` and the strings in `more`."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for text in more:
        total.update(f"{text}\n".encode())
    return total.hexdigest()[:12]


def built_folder(name, sources):
    """Where the result of the scripts in `sources` is kept: another one after every change of them."""
    inputs = [path for path in sources.iterdir() if path.suffix in (".py", ".json", ".txt")]
    return cache() / f"{name}-{digest(sorted(path for path in inputs if path.name not in NOT_INPUTS))}"


def models_folder():
    return built_folder("models", HERE)


def venv_folder(requirements):
    # The wheels depend on the Python version, and a virtual environment on its base interpreter.
    version = str(sys.version_info[:2])
    return cache() / f"venv-{digest([requirements], version, sys.base_prefix)}"


@contextlib.contextmanager
def locked(name):
    """One process at a time in the cache's part `name`."""
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def enter(requirements=REQUIREMENTS):
    """Returns in the environment's own Python: starts this script again there when it is not."""
    folder = venv_folder(requirements)
    if Path(sys.prefix).resolve() == folder:
        return
    with locked("venv"):
        if not (folder / "complete").exists():
            make(folder, requirements)
    python = str(folder / "bin" / "python")
    # One thread: more only wait for each other on cores that others use too.
    os.execve(python, [python, *sys.argv], os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})


def make(folder, requirements):
    if sys.version_info[:2] not in PYTHONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        sys.exit(f"make models: the pinned packages are for Python {known}; this is {sys.version.split()[0]}")
    say(f"installing the pinned packages into {folder} (about 150 MB to fetch, about 20 s)")
    shutil.rmtree(folder, ignore_errors=True)
    create(folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    subprocess.run(pip + pinned, check=True, stdout=sys.stderr)
    (folder / "complete").touch()


def create(folder):
    """`python3 -m venv`; Debian keeps the half of it that brings pip in a package of its own."""
    command = [sys.executable, "-m", "venv", str(folder)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("python3 -m venv does not work here: installing Debian's python3-venv")
        for command_of_apt in (["update", "-qq"], ["install", "-y", "-qq", "python3-venv"]):
            subprocess.run(["apt-get", *command_of_apt], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(command, check=True, stdout=sys.stderr)

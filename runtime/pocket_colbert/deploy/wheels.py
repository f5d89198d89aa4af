"""The installed packages that a bundle carries, and the C library they need."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path, PurePosixPath

from pocket_colbert.errors import BundleError

_LEFT_OUT = (
    # Files that no import reaches, or that only help to build or test the packages.
    "*.pyi", "*.pyx", "*.pxd", "*.h", "*.hpp", "*.c", "*.cc", "*.cpp", "*.a", "*.lib", "*.cmake",
    "*.pc", "*.pyc", "*/conftest.py",
    "numpy/f2py/*", "numpy/distutils/*", "numpy/doc/*", "numpy/_pyinstaller/*",
    "onnxruntime/tools/*", "onnxruntime/transformers/*", "onnxruntime/quantization/*",
    "onnxruntime/datasets/*", "onnxruntime/backend/*",
    # The library for C programs; the Python module has its own copy inside.
    "onnxruntime/capi/libonnxruntime.so*",
    "tokenizers/tools/*", "usearch/client.py", "usearch/server.py", "usearch/eval.py",
)  # fmt: skip
_LEFT_OUT_FOLDERS = {"tests", "test", "include", "docs", "examples", "__pycache__"}
_OLD_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}

Version = tuple[int, int]


def lambda_glibc() -> Version:
    """Return the version of the C library in Lambda's runtime for this Python."""
    # Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 from 3.12 on.
    return (2, 34) if sys.version_info >= (3, 12) else (2, 26)


def parse_version(text: str) -> Version:
    """Read a version of the C library, such as "2.34".

    Raises:
        BundleError: It does not look like that.
    """
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", text)
    if not match:
        raise BundleError(f"a version of glibc must look like 2.34, got {text!r}.")
    return int(match[1]), int(match[2])


def packages_of(modules: Mapping[str, str | None]) -> list[metadata.Distribution]:
    """Return the installed packages that modules belong to, by name, except for this one.

    Args:
        modules: Names and files of imported modules.

    Raises:
        BundleError: A module belongs to no installed package.
    """
    owners = metadata.packages_distributions()
    names = set()
    for name, file in modules.items():
        top = name.partition(".")[0]
        if not file or top in sys.stdlib_module_names or top == "pocket_colbert":
            continue
        if top not in owners:
            raise BundleError(
                f"{name} ({file}) belongs to no installed package; install its package with pip."
            )
        names.update(owners[top])
    return [metadata.distribution(name) for name in sorted(names)]


def needed_glibc(package: metadata.Distribution) -> Version:
    """Return the oldest C library that a package runs with, (0, 0) if it needs none."""
    versions = []
    for tag in re.findall(r"^Tag: (.*)$", package.read_text("WHEEL") or "", flags=re.MULTILINE):
        platforms = tag.rpartition("-")[2]
        if platforms == "any":
            return 0, 0
        for name in platforms.split("."):
            match = re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", name)
            if match:
                versions.append((int(match[1]), int(match[2])))
            elif name.removesuffix("_x86_64") in _OLD_MANYLINUX:
                versions.append(_OLD_MANYLINUX[name.removesuffix("_x86_64")])
    if versions:
        return min(versions)
    # Built on this machine: it may need this machine's.
    return parse_version(".".join(platform.libc_ver()[1].split(".")[:2]) or "2.17")


def check_glibc(packages: Iterable[metadata.Distribution], available: Version) -> None:
    """Raise BundleError if a package needs a newer C library than the one available."""
    for package in packages:
        needed = needed_glibc(package)
        if needed > available:
            raise BundleError(
                f"{package.metadata['Name']} {package.version} needs glibc {needed[0]}.{needed[1]}"
                f", but the bundle will run with {available[0]}.{available[1]} (Lambda has 2.26 up "
                "to Python 3.11, 2.34 from 3.12 on): use another Python, or pass --glibc if it "
                "will run elsewhere."
            )


def files_of(package: metadata.Distribution) -> dict[str, Path]:
    """Return the files of a package that may be used when it runs, by their names in the bundle.

    Raises:
        BundleError: The package has no list of its files.
    """
    if package.files is None:
        raise BundleError(
            f"{package.metadata['Name']} has no list of its files; install it with pip."
        )
    files = {}
    for path in package.files:
        name = PurePosixPath(path)
        if ".." in name.parts or name.is_absolute() or _LEFT_OUT_FOLDERS & set(name.parts[:-1]):
            continue
        if name.parts[0].endswith(".dist-info"):
            # Licenses must go where the code goes.
            used = bool(re.match(r"METADATA$|(?i:LICEN[CS]E|COPYING|NOTICE)", name.name))
        else:
            used = not any(fnmatch(str(name), pattern) for pattern in _LEFT_OUT)
        source = Path(str(package.locate_file(path)))
        if used and source.is_file():
            files[str(name)] = source
    return files

"""Writes stand-ins for the CUDA libraries that PyTorch's wheel names and a CPU never calls, so that
`import torch` works without their 2.7 GB: scripts/cuda_stand_ins.py SITE_PACKAGES.

Python binds every function of a library when it loads it, so a stand-in has each function that
PyTorch asks for, under the same name and version. A call of one ends the process with a message that
names the function. Libraries that are installed stay as they are. Needs gcc, nm and readelf."""

import pathlib
import re
import subprocess
import sys
import tempfile

# Loaded by `import torch`; libtorch_cuda_linalg.so and libcaffe2_nvrtc.so wait for a GPU.
LOADED = ["libtorch_python.so", "libtorch_cuda.so", "libtorch_nvshmem.so", "libtorch_cpu.so", "libc10_cuda.so"]


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def needed_libraries(library):
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", output_of("readelf", "-d", library))


def folder_of_cuda(library):
    """Where the stand-ins are written, relative to the packages: a folder in which PyTorch's libraries look."""
    paths = re.search(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", output_of("readelf", "-d", library))[1].split(":")
    return [path.removeprefix("$ORIGIN/../../") for path in paths if "/nvidia/" in path][-1]


def undefined_symbols(library):
    """Yields (name, version); the version is None where the library asks for any."""
    for line in output_of("nm", "-D", "--undefined-only", library).splitlines():
        kind, symbol = line.split()[-2:]
        if kind == "U":
            name, _, version = symbol.partition("@")
            yield name, version or None


def version_file(wanted):
    """Writes {version: names} as an ld version script."""
    return "".join(f"{version} {{ global: {'; '.join(sorted(names))}; }};\n"
                   for version, names in sorted(wanted.items()))


def stem(soname):
    """libcusparseLt.so.0 -> cusparselt"""
    return re.match(r"lib(\w+?)(_host)?\.so", soname)[1].lower()


def write_stand_in(path, versioned, unversioned):
    names = sorted(unversioned.union(*versioned.values()))
    source = ["#include <stdio.h>", "#include <stdlib.h>"]
    for name in names:
        source.append(f'void {name}(void) {{ fputs("error: {name}: this PyTorch was installed for the CPU '
                      f'(scripts/setup --cpu), without {path.name}\\n", stderr); abort(); }}')
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "stand_in.c").write_text("\n".join(source) + "\n")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-w", f"-Wl,-soname,{path.name}",
                   "-o", path, work / "stand_in.c"]
        if versioned:
            (work / "versions").write_text(version_file(versioned))
            command.append(f"-Wl,--version-script={work / 'versions'}")
        subprocess.run(command, check=True)


def main():
    packages = pathlib.Path(sys.argv[1])
    torch = packages / "torch" / "lib"
    installed = {path.name for path in packages.glob("nvidia/*/lib/*.so*")}
    libraries = [torch / name for name in LOADED if (torch / name).exists()]

    missing = {}  # soname -> {version: names}; the version is the soname itself, or the library's own
    names_without_version = set()
    for library in libraries:
        for soname in needed_libraries(library):
            is_cuda = re.match(r"lib(cu|nccl|nv)", soname)
            if is_cuda and soname not in installed:
                missing.setdefault(soname, {})
    for library in libraries:
        for name, version in undefined_symbols(library):
            if version is None:
                names_without_version.add(name)
                continue
            for soname, versions in missing.items():
                if version == soname or version.lower() == stem(soname):
                    versions.setdefault(version, set()).add(name)

    # The longest stem first: cusparseLtInit belongs to cusparselt, not to cusparse.
    unversioned = {soname: set() for soname in missing}
    for name in names_without_version:
        for soname in sorted(missing, key=lambda soname: -len(stem(soname))):
            if name.lower().startswith(stem(soname)):
                unversioned[soname].add(name)
                break

    folder = packages / folder_of_cuda(torch / "libtorch_cpu.so")
    folder.mkdir(parents=True, exist_ok=True)
    for soname, versioned in missing.items():
        write_stand_in(folder / soname, versioned, unversioned[soname])


if __name__ == "__main__":
    main()

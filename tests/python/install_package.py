"""Installs the package with pip into a fresh environment that has torch and transformers alone, and uses it there.
Skipped, with the reason, where a tool for it is missing.

    install_package.py --source=DIR --build-backend=DIR --build-folder=DIR --warnings-as-errors=0|1 --unity=0|1
        --build-type=NAME --compiler=PATH"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

SKIPPED = 77
USE = """
import pathlib, w2vbert, torch, transformers
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel
place = pathlib.Path(w2vbert.__file__).parent
model = Wav2Vec2BertModel(Wav2Vec2BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)).eval()
with torch.inference_mode():
    expected = model(torch.ones(1, 30, 160)).last_hidden_state
    actual = w2vbert.accelerate(model)(torch.ones(1, 30, 160)).last_hidden_state
assert (actual - expected).abs().max() < 2e-5
assert w2vbert.explain(model).parts[0].engine_calls == 1
print("installed", w2vbert.__version__, place)
"""


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def run(*words, environment=None, cwd=None):
    print("+", *words, flush=True)
    result = subprocess.run(list(map(str, words)), env=environment, cwd=cwd, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    print(result.stdout, flush=True)
    if result.returncode != 0:
        sys.exit(f"error: {words[0]} ended with {result.returncode}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser()
    for name in ("source", "build-backend", "build-folder", "warnings-as-errors", "unity", "build-type", "compiler"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    backend = pathlib.Path(arguments.build_backend)
    if not arguments.build_backend or not (backend / "scikit_build_core").is_dir():
        skip("scikit-build-core is not there: scripts/setup installs it (requirements-package.txt)")
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            skip(f"{tool} is not in PATH")
    site_packages = sysconfig.get_path("purelib")
    if not (pathlib.Path(site_packages) / "torch").is_dir():
        skip(f"no torch in {site_packages}")
    version = (pathlib.Path(arguments.source) / "include/w2vbert/version.h").read_text()
    version = ".".join(line.split()[2] for line in version.splitlines() if line.startswith("#define W2VBERT_VERSION_"))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(sys.executable, "-m", "venv", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        own = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (own / "torch_and_transformers.pth").write_text(f"{site_packages}\n")
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("PYTHONPATH", "VIRTUAL_ENV", "CMAKE_PREFIX_PATH", "Torch_DIR")}
        environment |= {"PYTHONPATH": str(backend), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1",
                        "CMAKE_GENERATOR": "Ninja", "CXX": arguments.compiler}
        settings = {"build-dir": arguments.build_folder, "cmake.build-type": arguments.build_type,
                    "cmake.define.W2VBERT_WARNINGS_AS_ERRORS": arguments.warnings_as_errors,
                    "cmake.define.W2VBERT_UNITY_BUILD": arguments.unity}
        options = [word for name, value in settings.items() for word in ("-C", f"{name}={value}")]
        install = [python, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--no-deps", *options]
        plain = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
        for how in ([], ["--editable"]):
            run(*install, *how, arguments.source, environment=environment)
            printed = run(python, "-W", "error::UserWarning", "-c", USE, environment=plain, cwd=folder)
            place = pathlib.Path(arguments.source) / "python" / "w2vbert" if how else own / "w2vbert"
            line = f"installed {version} {place}"
            if line not in printed.splitlines():
                sys.exit(f"error: expected the line: {line}")
            run(python, "-m", "pip", "uninstall", "--yes", "w2vbert", environment=plain)
        left = [path.name for path in own.iterdir() if "w2vbert" in path.name]
        if left:
            sys.exit(f"error: left behind: {left}")


if __name__ == "__main__":
    main()

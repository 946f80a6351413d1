#!/usr/bin/env bash
# Makes the lock files of this folder anew: the newest versions that pyproject.toml and the engine's requirements.txt allow, with
# hashes, in one form for Python 3.11 to 3.13 on Linux, Windows and macOS. Needs uv: pip install uv
#
#   build.txt         builds those packages that PyPI has as source only; comes first
#   environment.txt   everything else that Testing/environment.sh installs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

lock() {
  uv pip compile - --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
    --custom-compile-command "bash Testing/requirements/lock.sh" "$@"
}

folder=Testing/requirements
printf '%s\n' setuptools wheel | lock -o $folder/build.txt
printf '%s\n' torch==2.14.1 torchvision==0.29.1 '.[test,slicer,gui,benchmarks]' |
  lock -c $folder/build.txt --no-emit-package sam2adapt --no-emit-package setuptools -o $folder/environment.txt
# Apart, because its build asks for a torch of its own; what it needs at run time is in Resources/requirements.txt.
printf '%s\n' sam2==1.1.0 | lock --no-deps --no-header >>$folder/environment.txt

#!/usr/bin/env bash
# Makes the lock files anew: the newest versions that pyproject.toml and the engine's requirements.txt allow, with
# hashes, in one form for Python 3.11 to 3.13 on Linux, Windows and macOS. Needs uv: pip install uv
#
#   build.txt         builds those packages that PyPI has as source only; comes first
#   environment.txt   everything else that Testing/environment.sh installs
#
# and, in SAM2Adapt/Resources/Offline, those of a folder for computers without internet, of the same versions:
#
#   pytorch.txt       PyTorch with all that it needs, as PyPI has it
#   packages.txt      everything else that the engine needs
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

offline=SAM2Adapt/Resources/Offline
pytorch=(torch torchvision)
printf '%s\n' "${pytorch[@]}" | lock -c $folder/environment.txt -o $offline/pytorch.txt
heavy="$(sed -nE 's/^((torch|torchvision|triton|nvidia|cuda)[a-z0-9-]*)==.*/--no-emit-package \1/p' $offline/pytorch.txt)"
# shellcheck disable=SC2086  # one option a package
{ printf '%s\n' "${pytorch[@]}" setuptools && grep -v '^#' SAM2Adapt/Resources/requirements.txt; } |
  lock -c $folder/environment.txt -c $folder/build.txt $heavy -o $offline/packages.txt
printf '%s\n' sam2==1.1.0 | lock --no-deps --no-header >>$offline/packages.txt

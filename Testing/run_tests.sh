#!/usr/bin/env bash
# Sets up, checks the style and runs all tests, each folder in a process of its own: Slicer's libraries know one scene a process.
# The last line counts them: "N passed, N failed, N skipped". Arguments go to pytest; --older-processor, the first of
# them, imitates a processor without bf16.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$SAM2ADAPT_ROOT"

if [ "${1:-}" = --older-processor ]; then
  shift
  export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
  export PYTHONPATH="$SAM2ADAPT_ROOT/Testing/support/older_processor${PYTHONPATH:+:$PYTHONPATH}"
fi

# Tests on real images are skipped without it.
if [ -z "${SAM2ADAPT_DATA:-}" ] && [ -d ../shared/data ]; then
  SAM2ADAPT_DATA="$(cd ../shared/data && pwd)"
  export SAM2ADAPT_DATA
fi
# A model folder of the user must not decide whether tests pass.
SAM2ADAPT_HOME="$(mktemp -d)"
export SAM2ADAPT_HOME
reports="$(mktemp -d)"
trap 'rm -rf "$reports" "$SAM2ADAPT_HOME"' EXIT

status=0
printf '== ruff\n'
ruff check . || status=1
ruff format --check --quiet . || status=1

for folder in architecture engine benchmarks/tests campaigns/tests slicer host gui; do
  printf '\n== Testing/%s\n' "$folder"
  result=0
  python -m pytest "Testing/$folder" --junitxml "$reports/${folder//\//-}.xml" "$@" || result=$?
  # 5: nothing was collected, which arguments like -k cause.
  [ "$result" = 0 ] || [ "$result" = 5 ] || status=1
  printf '%s\n' "$result" >"$reports/${folder//\//-}.status"
done

printf '\n'
python Testing/count_tests.py "$reports" || status=1
exit $status

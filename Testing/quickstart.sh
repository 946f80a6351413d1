#!/usr/bin/env bash
# Sets up and shows what SAM2Adapt does, on the chest CT that the Python package slicerio carries. See quickstart.py --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec python "$SAM2ADAPT_ROOT/Testing/quickstart.py" "$@"

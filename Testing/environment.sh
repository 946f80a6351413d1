# To be sourced: makes the Python environment that quickstart.sh and run_tests.sh use and puts it first on PATH.
#
#   SAM2ADAPT_VENV     where it is made; default: .venv in the repository
#   SAM2ADAPT_PYTHON   the Python to make it from, 3.11 to 3.13; default: the first of these that is found
#
# Every package has the version and the hash of Testing/requirements/*.txt; lock.sh beside them makes those anew.
#
# Outside that folder nothing changes, but for root on Debian or Ubuntu, who gets the OpenGL libraries of Slicer's views.

SAM2ADAPT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
SAM2ADAPT_VENV="${SAM2ADAPT_VENV:-$SAM2ADAPT_ROOT/.venv}"
SAM2ADAPT_LOG="$SAM2ADAPT_ROOT/Testing/output/install.log"

sam2adapt_fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# sam2adapt_step TITLE COMMAND...: one line with the seconds; what the command prints goes to the log.
sam2adapt_step() {
  local title="$1" start=$SECONDS
  shift
  printf '  %-34s' "$title"
  printf '\n== %s: %s\n' "$title" "$*" >>"$SAM2ADAPT_LOG"
  if "$@" >>"$SAM2ADAPT_LOG" 2>&1; then
    printf '%5d s\n' $((SECONDS - start))
  else
    printf 'failed\n'
    tail -n 15 "$SAM2ADAPT_LOG" >&2
    if grep -qi 'no space left on device' "$SAM2ADAPT_LOG"; then
      df -h "$(dirname "$SAM2ADAPT_VENV")" "${TMPDIR:-/tmp}" >&2 || true
      sam2adapt_fail "" "The disk is full. The environment takes up to 8 GB in $SAM2ADAPT_VENV, and what pip downloads lies in" \
        "${TMPDIR:-/tmp} meanwhile. Delete something, or set SAM2ADAPT_VENV and TMPDIR to folders on another disk. Then run the" \
        "same command again. Everything that was printed is in $SAM2ADAPT_LOG"
    fi
    sam2adapt_fail "" "Setting up failed at: $title. Everything that was printed is in $SAM2ADAPT_LOG" \
      "Run the same command again to continue from here."
  fi
}

# Whether a Python has one of the versions that slicer-core, Slicer's libraries as a Python package, is locked for.
sam2adapt_fits() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

sam2adapt_find_python() {
  local candidate
  # All on PATH, not the first only: a pyenv shim stands before a Python that works and answers that it is not installed.
  { type -aP python3.11 python3.12 python3.13 python3 python || true; } | while read -r candidate; do
    if sam2adapt_fits "$candidate"; then
      printf '%s\n' "$candidate"
      break
    fi
  done
}

sam2adapt_require_python() {
  if [ -n "${SAM2ADAPT_PYTHON:-}" ]; then
    sam2adapt_fits "$1" || sam2adapt_fail \
      "SAM2ADAPT_PYTHON is $1, which is not Python 3.11, 3.12 or 3.13 with its venv module." \
      "Set it to one that is, or unset it to have one looked for."
  elif [ -z "$1" ]; then
    sam2adapt_fail "Python 3.11, 3.12 or 3.13 with its venv module is needed and was not found." \
      "Debian 12 and 13, Ubuntu 24.04: apt-get install python3 python3-venv; elsewhere: https://www.python.org, pyenv or" \
      "'uv python install 3.13'. Then set SAM2ADAPT_PYTHON to it if it is not on PATH."
  fi
}

# Of everything the environment is made from, so that a change makes it anew; the folder counts, the install points to it.
sam2adapt_stamp() {
  {
    printf '%s\n' "$SAM2ADAPT_ROOT"
    cat "$SAM2ADAPT_ROOT/pyproject.toml" "$SAM2ADAPT_ROOT/SAM2Adapt/Resources/requirements.txt" \
      "$SAM2ADAPT_ROOT/Testing/environment.sh" "$SAM2ADAPT_ROOT"/Testing/requirements/*.txt
  } | cksum
}

sam2adapt_make_venv() {
  local python
  if sam2adapt_fits "$SAM2ADAPT_VENV/bin/python" && "$SAM2ADAPT_VENV/bin/python" -c 'import pip' 2>/dev/null; then
    return
  fi
  if [ ! -e "$SAM2ADAPT_VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$SAM2ADAPT_VENV" 2>/dev/null)" ]; then
    sam2adapt_fail "$SAM2ADAPT_VENV holds files and is no Python environment." "Set SAM2ADAPT_VENV to another folder."
  fi
  python="${SAM2ADAPT_PYTHON:-$(sam2adapt_find_python)}"
  sam2adapt_require_python "$python"
  sam2adapt_step "Python environment" "$python" -m venv --clear "$SAM2ADAPT_VENV"
}

sam2adapt_install() {
  local install=("$SAM2ADAPT_VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off)
  # The lock files hold the requirements of every package. In isolation, sam2's build would fetch a torch of its own; its CUDA
  # extension serves video only.
  install+=(--no-deps --no-build-isolation)
  sam2adapt_step "build tools" "${install[@]}" --require-hashes -r "$SAM2ADAPT_ROOT/Testing/requirements/build.txt"
  sam2adapt_step "PyTorch, Slicer's libraries" env SAM2_BUILD_CUDA=0 "${install[@]}" --require-hashes \
    -r "$SAM2ADAPT_ROOT/Testing/requirements/environment.txt"
  sam2adapt_step "sam2adapt" "${install[@]}" -e "$SAM2ADAPT_ROOT"
}

sam2adapt_can_draw() {
  "$SAM2ADAPT_VENV/bin/python" "$SAM2ADAPT_ROOT/Testing/render.py" --check &&
    QT_QPA_PLATFORM=offscreen "$SAM2ADAPT_VENV/bin/python" -c 'from PySide6 import QtWidgets; QtWidgets.QApplication([])'
}

# Slicer's views and Qt need libraries of the system; everything else works without them.
sam2adapt_prepare_views() {
  local packages
  # In braces, so that what bash says of a process that VTK ended goes to the log too.
  { sam2adapt_can_draw; } >>"$SAM2ADAPT_LOG" 2>&1 && return
  packages="$("$SAM2ADAPT_VENV/bin/python" "$SAM2ADAPT_ROOT/Testing/render.py" --libraries)"
  packages="$packages libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086  # one argument a package
    if { apt-get update && apt-get install -y --no-install-recommends $packages && sam2adapt_can_draw; } \
      >>"$SAM2ADAPT_LOG" 2>&1; then
      return
    fi
  fi
  printf '  Pictures and panels cannot be drawn here. On Debian and Ubuntu this helps: sudo apt-get install %s\n' "$packages" >&2
  return 1
}

sam2adapt_environment() {
  local stamp start=$SECONDS
  mkdir -p "$(dirname "$SAM2ADAPT_LOG")"
  stamp="$(sam2adapt_stamp)"
  if [ "$(cat "$SAM2ADAPT_VENV/sam2adapt.stamp" 2>/dev/null)" != "$stamp" ]; then
    printf 'Making the Python environment %s\n' "$SAM2ADAPT_VENV"
    : >"$SAM2ADAPT_LOG"
    sam2adapt_make_venv
    rm -f "$SAM2ADAPT_VENV/sam2adapt.stamp" "$SAM2ADAPT_VENV/sam2adapt.views"
    sam2adapt_install
    printf '%s\n' "$stamp" >"$SAM2ADAPT_VENV/sam2adapt.stamp"
    printf '  Ready after %d s\n' $((SECONDS - start))
  fi
  if [ ! -e "$SAM2ADAPT_VENV/sam2adapt.views" ] && sam2adapt_prepare_views; then
    : >"$SAM2ADAPT_VENV/sam2adapt.views"
  fi
  PATH="$SAM2ADAPT_VENV/bin:$PATH"
}

sam2adapt_environment

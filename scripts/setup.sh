#!/usr/bin/env bash
# Sets up .venv with what the project needs. Usage: scripts/setup.sh [requirements.txt|requirements-dev.txt]
# Run again, it does nothing unless the requirements changed. PYTHON=... chooses the interpreter, VENV=... the folder.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=${1:-requirements.txt}
venv=${VENV:-.venv}
cpu_index=https://download.pytorch.org/whl/cpu

fail() {
  echo "setup: $*" >&2
  exit 2
}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 && is_recent "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed and none was found; install it, or name it with PYTHON=/path/to/python3."
}

has_nvidia_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

# PyPI's Linux wheel of torch brings several GB of CUDA libraries. Without an NVIDIA GPU the CPU build does the same work:
# a wheel already kept on this machine (pip's find-links) first, then PyTorch's CPU index, and only if neither can be
# had the default index, so that setting up never depends on one particular host.
install_torch() {
  local torch
  torch=$(grep -E '^torch==' constraints.txt)
  if "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    return
  fi
  if [ "$(uname -s)" = Linux ] && ! has_nvidia_gpu; then
    echo "setup: no NVIDIA GPU, installing the CPU build of $torch"
    pip_install --no-index --no-deps "$torch" >/dev/null 2>&1 && return
    pip_install --retries 1 --timeout 15 --index-url "$cpu_index" --no-deps "$torch" && return
    echo "setup: PyTorch's CPU index can't be reached, taking the default build"
  fi
  pip_install -c constraints.txt "$torch"
}

pip_install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

[ -f "$requirements" ] || fail "there is no $requirements; give requirements.txt or requirements-dev.txt."
if [ -x "$venv/bin/python" ] && ! is_recent "$venv/bin/python"; then
  fail "$venv was made with a Python older than 3.11; delete it and run this again."
fi
if [ ! -x "$venv/bin/python" ]; then
  python=$(find_python)
  "$python" -m venv "$venv" || fail "'$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv."
fi

stamp=$venv/.installed-${requirements%.txt}
wanted=$(cat requirements.txt "$requirements" constraints.txt | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
install_torch
echo "setup: installing $requirements"
pip_install -c constraints.txt -r "$requirements"
echo "$wanted" >"$stamp"

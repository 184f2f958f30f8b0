#!/bin/sh
# Make a virtual environment ready to develop in:   ./setup.sh FOLDER
#
# A machine without an NVIDIA GPU gets PyTorch's CPU build where PyTorch's own index can be reached, which saves
# gigabytes of CUDA libraries. An environment that already has torch keeps its own.
set -eu
cd "$(dirname "$0")"
venv=$1
python=$venv/bin/python
cpu_index=https://download.pytorch.org/whl/cpu

[ -x "$python" ] || python3 -m venv "$venv"

constraints=$venv/peaframe-constraints.txt
cp constraints.txt "$constraints"
if "$python" -c 'import torch' 2>/dev/null; then
    grep -v '^torch==' constraints.txt >"$constraints"
elif ! nvidia-smi -L >/dev/null 2>&1 &&
    "$python" -c "import urllib.request as r; r.urlopen('$cpu_index/torch/', timeout=5)" 2>/dev/null; then
    "$python" -m pip install --constraint "$constraints" --index-url "$cpu_index" torch ||
        echo "setup.sh: no CPU build of torch there; taking the default one" >&2
fi
"$python" -m pip install --constraint "$constraints" --editable '.[dev]'

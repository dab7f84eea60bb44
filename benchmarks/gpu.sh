#!/bin/sh
# The tests marked gpu, then benchmarks/gpu.py: under 8 minutes on one H100, with nothing downloaded.
#
#   benchmarks/gpu.sh [--wheels DIR] [--out DIR] [--minutes 5] [--smoke]
#
# It uses this machine's Python (PYTHON, by default python3) and its torch, 2.6 or newer. What else statecast needs is taken from the wheels in
# DIR, into a folder of its own beside --out. Fill DIR on a machine with internet and the same Python and platform, in an environment where
# statecast is installed:
#
#   python benchmarks/gpu.py --requirements > needs.txt
#   pip download --no-deps --only-binary :all: --dest DIR -r needs.txt
#
# For another Python or platform add, for example, --python-version 3.12 --platform manylinux_2_28_x86_64 to `pip download`.
# --smoke: a tiny model, without a GPU too.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
wheels='' packages='' out=gpu minutes=5 smoke=''
while [ $# -gt 0 ]; do
    case $1 in
    --wheels) wheels=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --smoke) smoke=--smoke; shift ;;
    *) echo "gpu.sh: $1 is no option. Options: --wheels, --out, --minutes, --smoke." >&2; exit 2 ;;
    esac
done

"$python" - <<'EOF'
import sys
try:
    import torch
except ImportError:
    sys.exit("gpu.sh: this Python has no torch, expected 2.6 or newer. Name another by PYTHON=/path/to/python.")
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
    sys.exit(f"gpu.sh: torch is {torch.__version__}, expected 2.6 or newer.")
EOF

if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$out.packages" --upgrade "$wheels"/*.whl
    packages=$(cd "$out.packages" && pwd): # a virtual environment in one would not see its torch
fi
# what tells the version of statecast, which is not installed
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")
about="$out.about/statecast-$version.dist-info"
mkdir -p "$about"
printf 'Metadata-Version: 2.1\nName: statecast\nVersion: %s\n' "$version" >"$about/METADATA"
about=$(cd "$out.about" && pwd)

export PYTHONPATH="$packages$root/src:$about:$root/tests/domains${PYTHONPATH:+:$PYTHONPATH}"
export CUBLAS_WORKSPACE_CONFIG=:4096:8 # resuming bit for bit needs it

status=0
"$python" -m pytest -q -m gpu --rootdir "$root" -c "$root/pyproject.toml" "$root"/tests/*/test_device.py "$root/tests/test_trained.py" || status=$?
[ "$status" -le 1 ] || exit "$status"
"$python" "$root/benchmarks/gpu.py" --out "$out" --minutes "$minutes" $smoke
exit "$status"

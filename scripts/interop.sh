#!/usr/bin/env bash
# Test what napari-dama writes with the libraries that read it (anndata, spatialdata, umap): in an environment of its own, because they
# want older versions of pandas, dask and ome-zarr than the window has. No torch, no Qt: it installs in about a minute.
#
# Usage: scripts/interop.sh PYTHON [PYTEST ARGUMENT...]
# Without network the tests are skipped, and this says so; INTEROP=required makes that an error.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$1
shift
env=.venv-interop
packages=(
  "spatialdata>=0.7.3" # first: it decides which ome-zarr and dask the others may have
  "numpy>=1.26" "pandas>=2.2" "pyarrow>=16" "scipy>=1.13" "scikit-image>=0.23" "scikit-learn>=1.5" "zarr>=3.0.8" "ome-zarr>=0.11"
  "tifffile>=2024.5" "imagecodecs>=2024.6" "pydantic>=2.7" "pyyaml>=6" "psutil>=5.9" "filelock>=3.13" "typer>=0.12" "rich>=13"
  "matplotlib>=3.8" "pillow>=10.1" "dask[array]>=2024.5" "safetensors>=0.4.3" "psygnal>=0.11" "faster-coco-eval>=1.6.5"
  "pytest>=8.2" "hatchling>=1.24" "editables"
  "anndata>=0.10.9" "geopandas>=0.14" "shapely>=2" "umap-learn>=0.5.6"
)

skip() {
  echo "interop: SKIPPED: $1" >&2
  echo "interop: nothing of anndata, spatialdata and umap was tested" >&2
  if [ "${INTEROP:-}" = required ]; then exit 1; fi
  exit 0
}

stamp="$env/.installed"
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ scripts/interop.sh -nt "$stamp" ]; then
  if [ ! -x "$env/bin/python" ]; then
    "$python" -m venv "$env" || skip "no environment can be made in $env"
  fi
  log="$env/install.log"
  begin=$SECONDS
  if ! "$env/bin/python" -m pip install --disable-pip-version-check --quiet --no-compile "${packages[@]}" >"$log" 2>&1 ||
    ! "$env/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable . >>"$log" 2>&1; then
    grep -v '^WARNING' "$log" | tail -n 3 >&2 || true
    skip "the libraries could not be installed (no network? see $log)"
  fi
  touch "$stamp"
  echo "interop: $env made in $((SECONDS - begin)) s"
fi

# everything about exports, and what other tests mark with interop; those modules may need more than is here, so only these are run
mapfile -t others < <(grep -rl --include='test_*.py' 'mark\.interop' tests | grep -v '^tests/export/' || true)
export NAPARI_DAMA_INTEROP=1
"$env/bin/python" -m pytest -q tests/export "$@"
if [ ${#others[@]} -gt 0 ]; then
  "$env/bin/python" -m pytest -q -m interop "${others[@]}" "$@"
fi

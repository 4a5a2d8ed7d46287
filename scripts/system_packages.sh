#!/usr/bin/env bash
# Install what Qt and a virtual screen need on Debian and Ubuntu, when something is missing and it can be had.
#
# Usage: scripts/system_packages.sh [PYTHON]. Never fails for want of a package: the tests that need a window skip
# then, and say so. Elsewhere (macOS, Windows, other Linux) it does nothing: the Qt wheels bring what they need.
set -eu

python=${1:-python3}
packages=(
  xvfb xauth libgl1 libegl1 libopengl0 libgl1-mesa-dri libglx-mesa0 libdbus-1-3 libxkbcommon-x11-0
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0
  libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libfontconfig1 fonts-dejavu-core
)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "no apt-get here: nothing to install"
  exit 0
fi

# Debian's own python comes without ensurepip, which a virtual environment needs.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3)
  packages+=("python${version}-venv")
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [ "${state:0:2}" = ii ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "all there"
  exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n env)
else
  echo "not installed, for want of root rights: ${missing[*]}"
  echo "to have the tests of the window run: sudo apt-get install ${missing[*]}"
  exit 0
fi

echo "installing: ${missing[*]}"
install=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
"${as_root[@]}" apt-get update -qq || echo "apt-get update failed: trying with the lists at hand"
if ! "${install[@]}" "${missing[@]}" >/dev/null; then
  # One name unknown to this release must not keep the others away.
  for package in "${missing[@]}"; do
    "${install[@]}" "$package" >/dev/null || echo "could not install $package"
  done
fi

#!/usr/bin/env bash
# Run a command with a screen: the one that is there, else a virtual one (Xvfb), else none, saying so.
#
# Usage: scripts/with_display.sh COMMAND [ARGUMENT...]
set -eu

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  exec "$@"
fi
if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
  # Mesa draws by software here, and containers often forbid the shared memory that X would use.
  export LIBGL_ALWAYS_SOFTWARE=1 QT_X11_NO_MITSHM=1
  exec xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" "$@"
fi
echo "no screen and no xvfb-run: what needs a window is skipped (see scripts/system_packages.sh)" >&2
exec "$@"

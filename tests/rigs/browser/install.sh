#!/bin/sh
# Install axe-core, with which tests/e2e/test_page.py looks for barriers, in a pinned version, outside
# of this repository: $PACELINE_TEST_TOOLS, or ~/.cache/paceline-test-tools. Needs npm.
set -eu
directory=${PACELINE_TEST_TOOLS:-$HOME/.cache/paceline-test-tools}/browser
wanted="axe-core@4.14.1"
if ! command -v npm >/dev/null; then
  echo "npm is not installed: the page is not examined for barriers" >&2
  exit 0
fi
mkdir -p "$directory"
if [ "$(cat "$directory/installed" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi
npm install --prefix "$directory" --no-audit --no-fund --no-progress --loglevel=error --ignore-scripts "$wanted"
printf '%s' "$wanted" > "$directory/installed"

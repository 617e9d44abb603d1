#!/bin/sh
# Install the real command-line agents that tests/e2e/test_tools_real.py drives, in pinned versions,
# outside of this repository: $PACELINE_TEST_TOOLS, or ~/.cache/paceline-test-tools. Needs npm.
set -eu
directory=${PACELINE_TEST_TOOLS:-$HOME/.cache/paceline-test-tools}
wanted="@anthropic-ai/claude-code@2.1.330 @google/gemini-cli@0.61.0 @openai/codex@0.169.0 opencode-ai@1.18.33"
if ! command -v npm >/dev/null; then
  echo "npm is not installed: the tests with real agents will be skipped" >&2
  exit 0
fi
mkdir -p "$directory"
if [ "$(cat "$directory/installed" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi
# shellcheck disable=SC2086 # a list of words
npm install --prefix "$directory" --no-audit --no-fund --no-progress --loglevel=error $wanted
printf '%s' "$wanted" > "$directory/installed"

#!/usr/bin/env bash
# Installs the tools that judge the state machine into .tools/judges, pinned by package-lock.json and requirements.txt.
# Does nothing when they are there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools/judges
stamp=$tools/stamp
want=$(cat "$here/package-lock.json" "$here/requirements.txt" | sha256sum | cut -d' ' -f1)

if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
  exit 0
fi
for program in node npm python3; do
  if ! command -v "$program" >/dev/null; then
    echo "judges: $program is not installed; it is needed to judge the state machine" >&2
    exit 1
  fi
done

mkdir -p "$tools"
exec 9>"$tools/lock"
if command -v flock >/dev/null; then
  flock 9 # two makes side by side install once
  if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
    exit 0
  fi
fi
rm -f "$stamp"

echo "judges: installing asl-validator (npm)"
mkdir -p "$tools/npm"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$tools/npm/"
(cd "$tools/npm" && npm ci --loglevel=error)

echo "judges: installing moto and cfn-lint (pip)"
if ! python3 -m venv --clear "$tools/venv"; then
  echo "judges: python3 has no venv module (Debian: python3-venv)" >&2
  exit 1
fi
"$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

echo "$want" >"$stamp"

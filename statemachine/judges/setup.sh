#!/usr/bin/env bash
# Installs the tools that judge the state machine and the templates into .tools/judges, pinned by package-lock.json and the
# requirements files. Does nothing when they are there already. AWS SAM CLI and checkov have virtual environments of their own: their
# pins exclude those of moto.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools/judges

# sum FILE…: what the files pin, and where: a virtual environment does not work in another place than it was made in.
sum() { { echo "$tools"; cat "$@"; } | sha256sum | cut -d' ' -f1; }

# have STAMP FILE…: whether what the files pin is installed.
have() {
  local stamp=$tools/$1
  [[ -f $stamp && $(<"$stamp") == "$(sum "${@:2}")" ]]
}

# stamp STAMP FILE…: it is installed now.
stamp() { sum "${@:2}" >"$tools/$1"; }

# venv DIRECTORY REQUIREMENTS
venv() {
  echo "judges: installing $1 (pip, $(basename "$2"))"
  if ! python3 -m venv --clear "$tools/$1"; then
    echo "judges: python3 has no venv module (Debian: python3-venv)" >&2
    exit 1
  fi
  "$tools/$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
}

machine=("$here/package-lock.json" "$here/requirements.txt")
sam=("$here/requirements-sam.txt")
checkov=("$here/requirements-checkov.txt")
all() { have stamp "${machine[@]}" && have sam.stamp "${sam[@]}" && have checkov.stamp "${checkov[@]}"; }

if all; then
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
fi

if ! have stamp "${machine[@]}"; then
  rm -f "$tools/stamp"
  echo "judges: installing asl-validator (npm)"
  mkdir -p "$tools/npm"
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$tools/npm/"
  (cd "$tools/npm" && npm ci --loglevel=error)
  venv venv "$here/requirements.txt" # moto and cfn-lint
  stamp stamp "${machine[@]}"
fi
if ! have sam.stamp "${sam[@]}"; then
  rm -f "$tools/sam.stamp"
  venv sam "${sam[@]}"
  stamp sam.stamp "${sam[@]}"
fi
if ! have checkov.stamp "${checkov[@]}"; then
  rm -f "$tools/checkov.stamp"
  venv checkov "${checkov[@]}"
  stamp checkov.stamp "${checkov[@]}"
fi

#!/usr/bin/env bash
# vulncheck.sh GOVULNCHECK PACKAGE…: known vulnerabilities that the packages can reach. The database is Go's own, or VULNDB (a URL, or
# file:// a directory). Where it cannot be reached nothing is judged, which is said; with VULNCHECK=required that is a failure.
set -euo pipefail

govulncheck=$1
shift
db=()
if [[ -n ${VULNDB:-} ]]; then db=(-db "$VULNDB"); fi

# A query of one module asks the database and reads no code.
if ! said=$("$govulncheck" ${db[@]+"${db[@]}"} -mode=query -json golang.org/x/net@v0.1.0 2>&1 >/dev/null); then
  echo "govulncheck: NOTHING WAS JUDGED: its database cannot be read ($(tail -n 1 <<<"$said"))" >&2
  if [[ ${VULNCHECK:-} == required ]]; then exit 1; fi
  exit 0
fi
exec "$govulncheck" ${db[@]+"${db[@]}"} "$@"

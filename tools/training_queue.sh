#!/usr/bin/env bash
# Trains configurations one after the other, at low priority: tools/training_queue.sh CONFIGURATION[=DATA] ...
# A finished run is passed over and a stopped one goes on, so after a kill start the queue again with the same words.
# DATA is the prepared folder of films, where it is not siim-512 in $PTX_DATA. Uses the python of $PYTHON, else python3.
set -uo pipefail
cd "$(dirname "$0")/.."

for word in "$@"; do
  data=()
  [[ $word == *=* ]] && data=(--data "${word#*=}")
  echo "$(date -u +%FT%TZ) ${word%%=*}"
  nice -n 15 "${PYTHON:-python3}" -m ptx_app train "${word%%=*}" "${data[@]}" || echo "stopped with status $?"
done

#!/usr/bin/env bash
# xargs: a process for each task.
#
# Called as `xargs.sh start workers=N socket=PATH worker=PROGRAM`: starts so many processes at
# once, which go on when all are there, and prints its figures as one line of JSON.
set -euo pipefail
export LC_ALL=C

workload=$1
shift
for word in "$@"; do
    declare "${word%%=*}=${word#*=}"
done
[[ $workload == start ]]

began=$EPOCHREALTIME
seq "$workers" | sed "s|.*|$socket|" | xargs -P "$workers" -n 1 "$worker" --wait-for-all
ended=$EPOCHREALTIME
micros=$((${ended/./} - ${began/./}))
printf '{"ms": %d.%03d}\n' $((micros / 1000)) $((micros % 1000))

#!/usr/bin/env bash
# Ends what `slurm_up.sh` started.
for name in slurmd slurmctld slurmdbd; do
  [ -s /run/slurm/$name.pid ] && kill "$(cat /run/slurm/$name.pid)" 2>/dev/null
  sleep 1
done
mariadb-admin shutdown
kill "$(cat /run/munge/munged.pid)"

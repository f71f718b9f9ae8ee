#!/usr/bin/env bash
# A real Slurm of one node on this machine: Debian 12, as root, without systemd, loopback only, with accounting and two
# stand-in GPUs. Safe to run again. `slurm_down.sh` ends it. With --install-only it is not started.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
if ! command -v slurmdbd >/dev/null || ! command -v mariadbd >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends slurm-wlm slurmdbd munge mariadb-server >/tmp/slurm-apt.log 2>&1 \
    || { tail -20 /tmp/slurm-apt.log >&2; exit 1; }
fi
[ "${1:-}" != --install-only ] || exit 0
cpus=$(nproc)
memory=$(awk '/MemTotal/{print int($2/1024*0.9)}' /proc/meminfo)
for i in 0 1; do [ -e /dev/fakegpu$i ] || mknod -m 666 /dev/fakegpu$i c 1 3; done
cat > /etc/slurm/slurm.conf <<C
ClusterName=ci
SlurmctldHost=localhost(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobCompType=jobcomp/none
SchedulerParameters=sched_interval=2,sched_min_interval=0
KillWait=5
MaxArraySize=5
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
C
echo 'NodeName=localhost Name=gpu File=/dev/fakegpu[0-1]' > /etc/slurm/gres.conf
install -o slurm -g slurm -m 600 /dev/null /etc/slurm/slurmdbd.conf
cat > /etc/slurm/slurmdbd.conf <<C
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
SlurmUser=slurm
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurm/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
C
install -d -o munge -g munge -m 755 /run/munge
install -d -o slurm -g slurm -m 755 /run/slurm
install -d -o mysql -g mysql -m 755 /run/mysqld
wait_for() {
  for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
  echo "Slurm could not be started: gave up waiting for: $*" >&2
  tail -n 20 /var/log/slurm/*.log >&2 || true
  return 1
}
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
alive /run/munge/munged.pid || runuser -u munge -- /usr/sbin/munged
mariadb-admin ping >/dev/null 2>&1 || setsid /usr/sbin/mariadbd --user=mysql --skip-networking \
  --pid-file=/run/mysqld/mysqld.pid --innodb-lock-wait-timeout=900 >/var/log/slurm/mariadbd.log 2>&1 </dev/null &
wait_for mariadb-admin ping
mariadb -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
  CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED VIA unix_socket;
  GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
alive /run/slurm/slurmdbd.pid || /usr/sbin/slurmdbd
wait_for sacctmgr -n show cluster
sacctmgr -n show cluster | grep -qw ci || sacctmgr -i -Q add cluster ci >/dev/null || true
alive /run/slurm/slurmctld.pid || /usr/sbin/slurmctld
alive /run/slurm/slurmd.pid || /usr/sbin/slurmd -N localhost
wait_for sh -c 'sinfo -h -o %T | grep -q -e idle -e mixed -e alloc'
sinfo

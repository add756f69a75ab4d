#!/usr/bin/env bash
# A Slurm cluster of this one machine, in a temporary folder: `slurm-node.sh COMMAND…` runs a command with it and takes it down.
# Needs Debian's `slurm-wlm` and root. Nothing of it outlives the command.
set -euo pipefail
for program in munged slurmctld slurmd sbatch scontrol sinfo; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install slurm-wlm" >&2
        exit 1
    }
done
PATH="$PATH:/usr/sbin"
[ "$(id -u)" -eq 0 ] || {
    echo "slurmd starts jobs as others, so this needs root" >&2
    exit 1
}

folder="$(mktemp -d)"
pids=()
take_down() {
    # Each by its number: other clusters of this machine are none of ours.
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        kill "${pids[at]}" 2>/dev/null || true
        wait "${pids[at]}" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap take_down EXIT
chmod 755 "$folder"
mkdir -p "$folder"/{munge,state,spool}
chmod 711 "$folder/munge"
(umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
munge="$folder/munge/socket"
munged --foreground --force --key-file="$folder/munge/key" --socket="$munge" --pid-file="$folder/munge/pid" \
    --seed-file="$folder/munge/seed" --num-threads=1 >"$folder/munged.log" 2>&1 &
pids+=($!)

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
host="$(hostname -s)"
# `cred_expire`: a job that is requeued waits until its first credential has expired, two minutes by default.
cat >"$folder/slurm.conf" <<CONF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$munge,cred_expire=2
CredType=cred/munge
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=10
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
slurmctld -D >"$folder/slurmctld.log" 2>&1 &
pids+=($!)
slurmd -D >"$folder/slurmd.log" 2>&1 &
pids+=($!)
for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
    sleep 0.5
done
[ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] || {
    echo "the node is not up:" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
}
"$@"

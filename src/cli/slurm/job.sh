set -eo pipefail
# Signals are handed on to the command that runs. It answers them by saving what is finished and exit code 75; the job then goes to
# the queue again, except where SIGTERM came: after scancel it is to end, after a preemption Slurm requeues it.
child='' signalled='' terminated='' woken=''
hand_on() {
    signalled=yes
    woken=yes
    [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null || true
}
trap hand_on USR1
# Slurm sends SIGTERM to the command too, or to this script alone. A second SIGTERM would end it before it has saved, a late SIGUSR1
# does no harm.
trap 'terminated=yes; sleep 1; hand_on' TERM
@SETUP@
set -u
memtrain=@PROGRAM@
arguments=(@ARGUMENTS@)
# A job that stops again and again without an end is given up.
most_requeues=500

cd @FOLDER@
# As many threads as the job has processors: the node may have more.
export RAYON_NUM_THREADS="${RAYON_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-0}}}"

# Runs a command, but begins none after a signal.
run() {
    local code=75
    if [ -z "$signalled" ]; then
        "$@" &
        child=$!
        # A signal may have come before the number of the command was known.
        [ -z "$signalled" ] || hand_on
        while :; do
            woken=''
            code=0
            wait "$child" || code=$?
            # A signal ends `wait` before the command has ended.
            [ -n "$woken" ] || break
        done
        child=''
        # A command that the signal reached before it takes signals has begun nothing.
        [ "$code" -ne $((128 + $(kill -l USR1))) ] || code=75
    fi
    [ "$code" -ne 0 ] || return 0
    if [ "$code" -eq 75 ] && [ -z "$terminated" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_requeues" ]; then
        local job="$SLURM_JOB_ID"
        # One task of an array has the number of the array itself, by which all its tasks would be sent again.
        [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
        echo "job $job goes to the queue again" >&2
        scontrol requeue "$job"
    fi
    exit "$code"
}

#!/bin/bash
# The name that squeue shows.
#SBATCH --job-name=digits
# As many hosts ...
#SBATCH --nodes=2
# ... with as many processes on each as it has GPUs: JAX gives each process one.
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
# Cores of a process: they read and decode the data.
#SBATCH --cpus-per-task=8
# After these hours the job is ended ...
#SBATCH --time=04:00:00
# ... and two minutes before that each process gets SIGTERM: all save at one step and exit with 143.
#SBATCH --signal=TERM@120
# A job that lost a host or had to give way to another one is started again ...
#SBATCH --requeue
# ... and writes on behind what it has written.
#SBATCH --open-mode=append
#SBATCH --output=digits-%j.txt

# A misspelt variable ends the script.
set -u

# All hosts see this folder; process 0 alone writes to it. Started again, the same command goes on in it.
workdir="$SLURM_SUBMIT_DIR/runs/digits-$SLURM_JOB_ID"

# One process a task. Where one ends with an error, its error reaches the others through jaxnn; where it is killed, Slurm
# ends the others after 60 seconds, should they still be there.
srun --kill-on-bad-exit=1 --wait=60 \
    jaxnn train digits_cnn --distributed --epochs 30 --workdir "$workdir"
code=$?

# 143: stopped in time, and saved. 6: a process was lost. Both go on from the last checkpoint, in the queue again.
if [ "$code" -eq 143 ] || [ "$code" -eq 6 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi

# Any other code is the job's.
exit "$code"

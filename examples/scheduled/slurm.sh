#!/bin/sh
#SBATCH --job-name=agriseg
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
# Eight jobs, each with its part of the rasters, its own state database and summary.
set -eu
exec agriseg batch flights -o maps -m weeds.safetensors --shard "$SLURM_ARRAY_TASK_ID/8" --cpu-threads "$SLURM_CPUS_PER_TASK"

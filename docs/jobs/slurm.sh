#!/bin/bash
# Fit shards on two nodes under SLURM:
#   sbatch --export=ALL,DATA=/shared/shards,OUT=/shared/results/gaussian.pt docs/jobs/slurm.sh
# Add what your cluster asks for, such as a partition or an account.
#SBATCH --job-name=covariance
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#SBATCH --requeue
set -euo pipefail

DATA=${DATA:-/shared/shards}
OUT=${OUT:-/shared/results/gaussian.pt}
RANKS_PER_NODE=${SLURM_CPUS_PER_TASK:-4}
# Two jobs may share a node, so each takes a port of its own.
PORT=$((20000 + SLURM_JOB_ID % 10000))
mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")

# source /shared/venv/bin/activate
# export GLOO_SOCKET_IFNAME=ib0 NCCL_SOCKET_IFNAME=ib0
export OMP_NUM_THREADS=1  # the ranks are the threads
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # restarts on several nodes need it

# One torchrun on each node, which starts the ranks, and again if one dies. srun
# has to be told of the cores: since SLURM 22.05 it does not ask the batch job.
srun --kill-on-bad-exit=1 --cpus-per-task="$RANKS_PER_NODE" torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$RANKS_PER_NODE" \
  --rdzv-backend c10d --rdzv-endpoint "${NODES[0]}:$PORT" \
  --rdzv-conf read_timeout=600 --rdzv-id "$SLURM_JOB_ID" --max-restarts 3 \
  -m helpers.distributed "$DATA" --out "$OUT" --timeout 600

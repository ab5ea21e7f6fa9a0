#!/bin/bash
# Fit shards with two hosts. Run the same line on both, within ten minutes:
#   FIRST=192.168.1.10 bash docs/jobs/two_hosts.sh
# FIRST is the address of one of the two. Both see the shards and the folder
# of OUT under the same path, and let each other in on their ports.
set -euo pipefail

FIRST=${FIRST:?the address of the first host, for example FIRST=192.168.1.10}
DATA=${DATA:-/shared/shards}
OUT=${OUT:-/shared/results/gaussian.pt}
HOSTS=${HOSTS:-2}
RANKS_PER_HOST=${RANKS_PER_HOST:-4}
PORT=${PORT:-29400}

# Where a host has several networks, name the one that the hosts share.
if [[ -n "${INTERFACE:-}" ]]; then
  export GLOO_SOCKET_IFNAME="$INTERFACE" NCCL_SOCKET_IFNAME="$INTERFACE"
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the ranks are the threads
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # restarts on several hosts need it

exec torchrun \
  --nnodes "$HOSTS" --nproc-per-node "$RANKS_PER_HOST" \
  --rdzv-backend c10d --rdzv-endpoint "$FIRST:$PORT" \
  --rdzv-conf read_timeout=600 --rdzv-id covariance --max-restarts 3 \
  ${LOCAL_ADDRESS:+--local-addr "$LOCAL_ADDRESS"} \
  -m helpers.distributed "$DATA" --out "$OUT" --timeout 600

#!/bin/sh
# Times the reference networks here and in PyTorch and Opacus, in turn, and prints the ratios of wall time and peak memory.
#
# usage: compare.sh OPACUS_STEP [NET...]
# OPACUS_STEP: the comparison's script (run by $PYTHON, default python3, which needs torch and opacus).
# ROUNDS (default 3) rounds of SECONDS_EACH (default 4) on THREADS (default 2) threads; ratios are of medians over rounds.
# RUNS: some of own-private, own-plain, torch-plain, torch-hooks, torch-ghost, where not all; with LOG, a file that their lines
# are added to and ratios are read from, a comparison can be run in pieces. STEP: the built example, where cargo is not to build it.
set -eu
script=${1:?usage: compare.sh OPACUS_STEP [NET...]}
shift
[ $# -gt 0 ] || set -- a_mnist b_lenet c_unet d_resnet18gn
python=${PYTHON:-python3} rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-4} threads=${THREADS:-2}
runs=${RUNS:-own-private own-plain torch-plain torch-hooks torch-ghost}
cd "$(dirname "$0")/.."
step=${STEP:-}
if [ -z "$step" ]; then
    cargo build --release --quiet -p tributary-trainer --example step
    step=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/examples/step
fi
log=${LOG:-}
if [ -z "$log" ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
fi
for net; do
    round=0
    while [ "$round" -lt "$rounds" ]; do
        for run in $runs; do
            mode=${run#*-}
            case $run in
            own-*) "$step" "$net" "$mode" "$threads" "$seconds" | sed 's/^/own-/' | tee -a "$log" ;;
            *) "$python" "$script" "$net" "$mode" "$threads" "$seconds" | sed 's/^/torch-/' | tee -a "$log" ;;
            esac
        done
        round=$((round + 1))
    done
    # Median wall time and memory of each side; of Opacus's modes, the faster one's.
    sed -n 's/\(own\|torch\)-'"$net"' \([a-z]*\) .*wall_ms=\([0-9.]*\) .*peak_mib=\([0-9]*\).*/\1-\2 \3 \4/p' "$log" | sort -k1,1 -k2,2n |
        awk -v net="$net" '
            { n[$1]++; wall[$1, n[$1]] = $2; if ($3 > peak[$1]) peak[$1] = $3 }
            function median(k) { return n[k] % 2 ? wall[k, (n[k] + 1) / 2] : (wall[k, n[k] / 2] + wall[k, n[k] / 2 + 1]) / 2 }
            END {
                if (!(n["own-private"] && n["own-plain"] && n["torch-plain"] && n["torch-hooks"] && n["torch-ghost"])) exit
                opacus = median("torch-hooks") < median("torch-ghost") ? "torch-hooks" : "torch-ghost"
                private = median("own-private")
                printf "%s ratio: PyTorch %.2f, Opacus %.2f (%s), own plain %.2f, memory of Opacus %.2f\n", net,
                    private / median("torch-plain"), private / median(opacus), substr(opacus, 7),
                    private / median("own-plain"), peak["own-private"] / peak[opacus]
            }'
done

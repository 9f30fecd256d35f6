#!/usr/bin/env bash
# How near the innermost loops of ARM64 come to what the multiply-add units of two processors can do, by LLVM's models of them.
# Needs llvm-mc and llvm-mca 19. It says nothing of time: caches are not in the models.
set -eu
cd "$(dirname "$0")/.."
tool() { command -v "$1-19" || command -v "$1" || { echo "skipped: $1 is not installed" >&2; return 1; }; }
mc=$(tool llvm-mc) || exit 0
mca=$(tool llvm-mca) || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo run --release --quiet --locked -p maquette-arm64 --example loops >"$work/all"
awk -v dir="$work" 'BEGIN { RS = ""; FS = "\n" } { f = sprintf("%s/%02d", dir, NR); print $1 > (f ".name"); for (i = 2; i <= NF; i++) print $i > (f ".hex") }' "$work/all"
echo "| loop | instructions per multiply-add | neoverse-n1 | neoverse-v1 |"
echo "|---|---|---|---|"
low=0
for hex in "$work"/*.hex; do
  name=$(cat "${hex%.hex}.name")
  adds=${name##*: }
  "$mc" --disassemble --triple=aarch64 "$hex" | grep -v '^\s*\.' >"$work/turn.s"
  row="| ${name%:*} | $(awk -v a="$adds" 'END { printf "%.4f", NR / a }' "$work/turn.s") |"
  # multiply-adds of 128 bits per cycle
  for cpu in neoverse-n1:2 neoverse-v1:4; do
    share=$("$mca" --mtriple=aarch64 --mcpu="${cpu%:*}" --iterations=200 "$work/turn.s" 2>/dev/null |
      awk -v a="$adds" -v w="${cpu#*:}" '/^Iterations:/ { n = $2 } /^Total Cycles:/ { printf "%.1f", 100 * a * n / $3 / w }')
    row="$row $share % |"
    awk -v s="$share" 'BEGIN { exit !(s < 95) }' && low=1
  done
  echo "$row"
done
exit $low

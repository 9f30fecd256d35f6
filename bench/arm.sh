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
# loops KIND: a file with the name and one with the instructions of each
loops() {
  rm -rf "$work"/*
  cargo run --release --quiet --locked -p maquette-arm64 --example loops -- "$1" >"$work/all"
  awk -v dir="$work" 'BEGIN { RS = ""; FS = "\n" } { f = sprintf("%s/%02d", dir, NR); print $1 > (f ".name"); for (i = 2; i <= NF; i++) print $i > (f ".hex") }' "$work/all"
}
# rate CPU COUNT: how much of COUNT the processor starts in a cycle
rate() {
  "$mca" --mtriple=aarch64 --mcpu="$1" --mattr=+dotprod,+i8mm --iterations=200 "$work/turn.s" 2>/dev/null |
    awk -v a="$2" '/^Iterations:/ { n = $2 } /^Total Cycles:/ { printf "%.3f", a * n / $3 }'
}
turn() { "$mc" --disassemble --triple=aarch64 --mattr=+dotprod,+i8mm "$1" | grep -v '^\s*\.' >"$work/turn.s"; }

loops floats
echo "| loop | instructions per multiply-add | neoverse-n1 | neoverse-v1 |"
echo "|---|---|---|---|"
low=0
for hex in "$work"/*.hex; do
  name=$(cat "${hex%.hex}.name")
  adds=${name##*: }
  turn "$hex"
  row="| ${name%:*} | $(awk -v a="$adds" 'END { printf "%.4f", NR / a }' "$work/turn.s") |"
  # multiply-adds of 128 bits per cycle
  for cpu in neoverse-n1:2 neoverse-v1:4; do
    share=$(rate "${cpu%:*}" "$adds" | awk -v w="${cpu#*:}" '{ printf "%.1f", 100 * $1 / w }')
    row="$row $share % |"
    awk -v s="$share" 'BEGIN { exit !(s < 95) }' && low=1
  done
  echo "$row"
done

loops bytes
echo
echo "| loop of bytes | products per instruction | per cycle of neoverse-n1 | of neoverse-v1 |"
echo "|---|---|---|---|"
for hex in "$work"/*.hex; do
  name=$(cat "${hex%.hex}.name")
  products=${name##*: }
  turn "$hex"
  row="| ${name%:*} | $(awk -v a="$products" 'END { printf "%.2f", a / NR }' "$work/turn.s") |"
  for cpu in neoverse-n1 neoverse-v1; do
    row="$row $(rate "$cpu" "$products" | awk '{ printf "%.1f", $1 }') |"
  done
  echo "$row"
done
exit $low

// Modules that `cargo run -p maquette-bench --bin modules -- FOLDER` wrote, one thread, in Node: GFLOP/s, and percent of a
// multiply-add peak that takes turns with them.
//
//   node --experimental-wasm-relaxed-simd bench/web/dot.mjs FOLDER [ROUNDS]

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, rounds = '40'] = process.argv.slice(2);
const LEVELS = ['simd128', 'relaxed'];
const PEAK = 1_200_000 * 8;

/** A module that is ready to run, or null where this engine does not take it. */
function load(name, level) {
    const bytes = readFileSync(join(folder, `${name}.${level}.wasm`));
    if (!WebAssembly.validate(bytes)) return null;
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    const at = global => exports[global].value >>> 0;
    if (exports.weights) new Uint8Array(exports.memory.buffer, at('weights')).set(readFileSync(join(folder, `${name}.bin`)));
    // pages that nobody has written are all the same page, which is slow to read on some machines
    for (let i = 0; exports[`input${i}`]; i++) {
        const end = exports[`input${i + 1}`] ? at(`input${i + 1}`) : at('output0');
        const data = new Float32Array(exports.memory.buffer, at(`input${i}`), (end - at(`input${i}`)) >> 2);
        for (let j = 0; j < data.length; j++) data[j] = ((j * 31) % 97 - 48) / 48;
    }
    return exports;
}

/** Milliseconds of processor time of a run, on average over a few milliseconds. What else the machine does hardly counts. */
function sample(exports, times) {
    const before = process.cpuUsage();
    for (let i = 0; i < times; i++) if (exports.run() !== 0) throw new Error('a status');
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000 / times;
}

/** Seconds of a run: the least sample of about `budget` seconds. */
function best(exports, budget) {
    let least = sample(exports, 1);
    const start = performance.now();
    do least = Math.min(least, sample(exports, Math.max(1, Math.ceil(2 / least)))); while (performance.now() - start < budget * 1000);
    return least / 1000;
}

const models = JSON.parse(readFileSync(join(folder, 'modules.json'), 'utf8'));
const jobs = [];
for (const { name, macs } of models) {
    for (const level of LEVELS) {
        const exports = load(name, level);
        if (exports) jobs.push({ name, level, flops: 2 * macs, exports, seconds: Infinity });
    }
}
const peaks = Object.fromEntries(LEVELS.filter(level => existsSync(join(folder, `peak.${level}.wasm`))).map(level => [level, load('peak', level)]));
const top = {};
// engines compile for speed while a module runs
for (const job of jobs) best(job.exports, 0.3);
for (const level in peaks) if (peaks[level]) best(peaks[level], 0.3);
for (let round = 0; round < +rounds; round++) {
    for (const level in peaks) if (peaks[level]) top[level] = Math.max(top[level] ?? 0, PEAK / best(peaks[level], 0.02) / 1e9);
    for (const job of jobs) job.seconds = Math.min(job.seconds, best(job.exports, 0.02));
}
console.log(`${'module'.padEnd(24)} ${'level'.padEnd(8)} ${'ms'.padStart(9)} ${'GFLOP/s'.padStart(8)} ${'peak'.padStart(6)} ${'%'.padStart(6)}`);
for (const { name, level, flops, seconds } of jobs) {
    const speed = flops / seconds / 1e9;
    const of = top[level] ? ((100 * speed) / top[level]).toFixed(1) : '';
    console.log(
        `${name.padEnd(24)} ${level.padEnd(8)} ${(seconds * 1000).toFixed(4).padStart(9)} ${speed.toFixed(1).padStart(8)} ${(top[level]?.toFixed(1) ?? '').padStart(6)} ${of.padStart(6)}`,
    );
}

// Compiled modules beside onnxruntime-web, in one process, one thread, turn by turn.
// Arguments: the compiler, then ONNX files. Needs a Node with relaxed SIMD (in Node 20 behind --experimental-wasm-relaxed-simd).
//
// A call is what a program does: inputs copied in, the run, outputs copied out. Each turn takes one sample of everyone, of as
// many calls as fill ten milliseconds; what is told of the samples is the least and the median. Results are compared first.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as ort from 'onnxruntime-web';

const SAMPLE_MS = 10;
const seconds = Number(process.env.SECONDS_A_MODEL ?? 20);

/** Numbers that look random and are the same each time, about as large as images after normalization. */
function* noise(seed) {
  for (let state = seed >>> 0; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 31 - 1;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** An array for an input of this type: noise for floats, all bytes for bytes, and small indices for what is wider. */
function filled({ type, dims }, seed) {
  const source = noise(seed);
  const length = dims.reduce((n, d) => n * d, 1);
  const made = (kind, of) => kind.from({ length }, () => of(source.next().value));
  switch (type) {
    case 'float32': return made(Float32Array, (v) => v);
    case 'float64': return made(Float64Array, (v) => v);
    case 'uint8': return made(Uint8Array, (v) => Math.floor((v + 1) * 128));
    case 'int8': return made(Int8Array, (v) => Math.floor(v * 128));
    case 'bool': return made(Uint8Array, (v) => Number(v > 0));
    case 'int32': return made(Int32Array, (v) => Math.floor((v + 1) * 50));
    case 'int64': return made(BigInt64Array, (v) => BigInt(Math.floor((v + 1) * 50)));
    default: throw new Error(`inputs of ${type} are not made up`);
  }
}

async function peer(file, inputs) {
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), { executionProviders: ['wasm'] });
  const feeds = Object.fromEntries(inputs.map(({ name, type, data, dims }) => [name, new ort.Tensor(type, data, dims)]));
  return async () => {
    const out = await session.run(feeds);
    return session.outputNames.map((name) => out[name].data);
  };
}

/** Awaited like the peer, so that the turn of the event loop is everyone's. */
async function ours(module, relaxed, inputs) {
  const model = await module.load({ relaxed });
  return async () => {
    for (const { name, data } of inputs) model.inputs[name].set(data);
    return Object.values(model.run()).map((array) => array.slice());
  };
}

/** The largest difference over the largest value. */
function difference(a, b) {
  return Math.max(...a.map((array, i) => {
    const numbers = Array.from(array, Number);
    const largest = numbers.reduce((max, v) => Math.max(max, Math.abs(v)), 1e-30);
    return numbers.reduce((max, v, j) => Math.max(max, Math.abs(v - Number(b[i][j]))), 0) / largest;
  }));
}

/** On a busy computer, CLOCK=cpu counts the process's own time, with that of the engine's compiler. */
const now = process.env.CLOCK === 'cpu' ? () => Object.values(process.cpuUsage()).reduce((a, b) => a + b) / 1000 : () => performance.now();

async function sample(call, calls) {
  const start = now();
  for (let i = 0; i < calls; i++) await call();
  return (now() - start) / calls;
}

async function compare(compiler, file, folder) {
  const name = basename(file, '.onnx');
  execFileSync(compiler, ['compile', file, '--name', name, '--target', 'wasm32', '-o', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const module = await import(pathToFileURL(join(folder, `${name}.mjs`)));
  const inputs = module.description.inputs.map((input, i) => ({ ...input, data: filled(input, i + 1) }));
  const calls = { ort: await peer(file, inputs), simd128: await ours(module, false, inputs), relaxed: await ours(module, true, inputs) };
  const expected = await calls.ort();
  const error = Math.max(difference(expected, await calls.simd128()), difference(expected, await calls.relaxed()));

  const who = Object.keys(calls);
  const times = Object.fromEntries(who.map((key) => [key, []]));
  const counts = {};
  for (const key of who) {
    // Twice: engines compile what is called often once more, and better.
    for (let i = 0; i < 3; i++) counts[key] = Math.max(1, Math.round(SAMPLE_MS / (await sample(calls[key], counts[key] ?? 1))));
  }
  const end = performance.now() + 1000 * seconds;
  do for (const key of who) times[key].push(await sample(calls[key], counts[key]));
  while (performance.now() < end || times.ort.length < 5);

  const least = Object.fromEntries(who.map((key) => [key, Math.min(...times[key])]));
  const middle = Object.fromEntries(who.map((key) => [key, median(times[key])]));
  const size = (level) => statSync(join(folder, `${name}.${level}.wasm`)).size;
  const pair = (key) => `${least[key].toFixed(3)} (${middle[key].toFixed(3)})`;
  const ratio = (key) => `${(least[key] / least.ort).toFixed(2)} (${(middle[key] / middle.ort).toFixed(2)})`;
  const kb = (bytes) => Math.round(bytes / 1000);
  const weights = module.description.weights_bytes;
  console.log(
    `| ${name} | ${pair('ort')} | ${pair('simd128')} | ${ratio('simd128')} | ${pair('relaxed')} | ${ratio('relaxed')} ` +
      `| ${kb(size('simd128'))} / ${kb(size('relaxed'))}${weights > 0 ? ` + ${kb(weights)}` : ''} | ${error.toExponential(0)} | ${times.ort.length} |`,
  );
}

ort.env.wasm.numThreads = 1;
const [compiler, ...files] = process.argv.slice(2);
console.log('milliseconds a call: least (median); ratio to onnxruntime-web; kB of modules + weight file\n');
console.log('| model | onnxruntime-web | simd128 | ratio | relaxed | ratio | size | error | samples |\n|---|---|---|---|---|---|---|---|---|');
const folder = mkdtempSync(join(tmpdir(), 'bench-web-'));
try {
  for (const file of files) await compare(compiler, file, folder);
} finally {
  rmSync(folder, { recursive: true });
}

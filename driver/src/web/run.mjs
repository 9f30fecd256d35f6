// A compiled model as a program: speaks the protocol of executables (docs/cli.md) for `run`, `verify` and `bench`.
import { readSync, writeSync } from 'node:fs';
import { load } from './model.mjs';

const [BAD_SIZE, USAGE, OUTPUT] = [3, 64, 74];
const lock = new Int32Array(new SharedArrayBuffer(4));

/** The bytes moved, fewer than the view has only where the other side has ended. */
function whole(step, view) {
  let at = 0;
  while (at < view.length) {
    try {
      const moved = step(view, at);
      if (moved === 0) break;
      at += moved;
    } catch (error) {
      if (error.code === 'EOF') break;
      if (error.code !== 'EAGAIN') throw error;
      // a pipe that does not wait by itself: sleep for a millisecond
      Atomics.wait(lock, 0, 0, 1);
    }
  }
  return at;
}
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const got = (view) => whole((view, at) => readSync(0, view, at, view.length - at), view);

function end(code, why) {
  process.stderr.write(`${why}\n`);
  process.exit(code);
}

function put(view) {
  if (view.length === 0) return;
  try {
    if (whole((view, at) => writeSync(1, view, at), view) === view.length) return;
  } catch (error) {
    end(OUTPUT, error.stack);
  }
  end(OUTPUT, 'the output is not taken');
}

/** Bytes of each input, in the order of the description. */
function sizes(text) {
  const all = text === '' ? [] : (text ?? 'x').split(',').map(Number);
  if (!all.every(Number.isInteger)) end(USAGE, 'usage: run.mjs BYTES,... [--bench N] < inputs > outputs');
  return all;
}

function asked([bench, runs, ...more]) {
  if (bench === undefined) return 0;
  const n = /^\d+$/.test(runs) ? Number(runs) : 0;
  if (bench !== '--bench' || n === 0 || n > 10_000_000 || more.length > 0) end(USAGE, 'usage: run.mjs BYTES,... [--bench N] < inputs > outputs');
  return n;
}

const lengths = sizes(process.argv[2]);
const runs = asked(process.argv.slice(3));
try {
  const model = await load();
  const { inputs, outputs, symbols, state_bytes } = model.description;
  const free = symbols.filter((symbol) => symbol.free);
  const given = new BigInt64Array(free.length);
  let dims = {};
  let ran = false;
  // whether there was anything to read
  const take = () => {
    let any = false;
    const read = (view, what) => {
      const has = got(view);
      if (has === 0 && view.length > 0 && !any && ran) return false;
      if (has < view.length) end(BAD_SIZE, what(has, view.length));
      any ||= has > 0;
      return true;
    };
    if (!read(bytes(given), () => 'sizes are missing')) return false;
    dims = Object.fromEntries(free.map(({ name }, i) => [name, Number(given[i])]));
    for (const [i, { name }] of inputs.entries()) {
      const view = bytes(model.inputs[name]).subarray(0, lengths[i]);
      if (!read(view, (has, wanted) => `input "${name}" has ${has} bytes, not ${wanted}`)) return false;
    }
    return any;
  };
  take();
  if (state_bytes === 0 && got(new Uint8Array(1)) > 0) end(BAD_SIZE, 'there is more input than the model takes');
  if (runs > 0) {
    const times = [];
    model.run(dims);
    for (let n = runs; n > 0; n--) {
      const start = process.hrtime.bigint();
      model.run(dims);
      times.push(process.hrtime.bigint() - start);
    }
    put(Buffer.from(times.map((time) => `${time}\n`).join('')));
  } else {
    do {
      model.run(dims);
      put(bytes(BigInt64Array.from(symbols, ({ name }) => BigInt(model.dims[name]))));
      for (const { name } of outputs) put(bytes(model.outputs[name]));
      ran = true;
    } while (state_bytes > 0 && take());
  }
} catch (error) {
  end(error?.status > 0 ? error.status : 1, error?.stack ?? error);
}

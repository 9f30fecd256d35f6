// A compiled model as a program: speaks the protocol of executables (docs/cli.md) for `run`, `verify` and `bench`.
import { readSync, writeSync } from 'node:fs';
import { load } from './model.mjs';

function whole(step, view) {
  for (let at = 0; at < view.length;) {
    try {
      const moved = step(view, at);
      if (moved === 0) process.exit(74);
      at += moved;
    } catch (error) {
      // a pipe that would have to wait
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const put = (view) => whole((view, at) => writeSync(1, view, at), view);

try {
  const model = await load();
  const { inputs, outputs } = model.description;
  for (const { name } of inputs) whole((view, at) => readSync(0, view, at, view.length - at), bytes(model.inputs[name]));
  if (process.argv[2] === '--bench') {
    const times = [];
    model.run();
    for (let n = Number(process.argv[3]); n > 0; n--) {
      const start = process.hrtime.bigint();
      model.run();
      times.push(process.hrtime.bigint() - start);
    }
    put(Buffer.from(times.map((time) => `${time}\n`).join('')));
  } else {
    model.run();
    for (const { name } of outputs) put(bytes(model.outputs[name]));
  }
} catch (error) {
  process.stderr.write(`${error?.stack ?? error}\n`);
  process.exit(error?.status > 0 ? error.status : 1);
}

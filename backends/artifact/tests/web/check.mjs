// Loads the models that web.rs wrote into the folder that is the first argument, from files and over HTTP, and uses them as a
// caller would. Prints 'all as it should be' at the end, or fails with what was not.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

const folder = pathToFileURL(`${process.argv[2]}/`);
const use = (name) => import(new URL(`${name}.mjs`, folder));
const relaxedFlag = process.execArgv.some((flag) => flag.includes('relaxed'));
const fails = async (promise, part, status = null) => {
  const error = await promise.then(() => assert.fail(`no fault: ${part}`), (error) => error);
  assert.ok(error.message.includes(part), `${part} in ${error.message}`);
  assert.equal(error.name, 'MaquetteError');
  assert.equal(error.status, status);
};

// a run, its views, its faults
{
  const { load, MaquetteError, description } = await use('tiny');
  const model = await load();
  const has = model.level === 'relaxed' ? 2.5 : 1.5;
  if (relaxedFlag) assert.equal(model.level, 'relaxed');
  model.inputs.x.set([1, 2, 3, 4]);
  assert.equal(model.run(), model.outputs);
  assert.deepEqual([...model.outputs.y], [1, 2, 3, 4].map((v) => v + has));
  model.inputs.x = [5, 6, 7, 8];
  assert.deepEqual([...model.run().y], [5, 6, 7, 8].map((v) => v + has));

  const before = model.inputs.x;
  assert.equal(model.inputs.x, before, 'the same view as long as it holds');
  model.memory.grow(1);
  assert.equal(before.length, 0, 'memory that grows detaches');
  assert.deepEqual([...model.inputs.x], [5, 6, 7, 8]);
  assert.deepEqual([...model.run().y], [5, 6, 7, 8].map((v) => v + has));

  assert.throws(() => (model.inputs.x = [1]), { status: 3, message: 'input "x" takes 4 values, not 1' });
  assert.throws(() => (model.inputs.z = [1]), TypeError);
  const refuses = (values, part) => assert.throws(() => (model.inputs.x = values), { name: 'MaquetteError', status: 3, message: part });
  refuses(null, /takes an array, not null/);
  refuses(undefined, /takes an array/);
  refuses(4, /takes an array, not 4/);
  refuses('1234', /takes an array/);
  refuses({}, /takes an array/);
  refuses(new DataView(new ArrayBuffer(4)), /takes an array/);
  refuses(['x', 1, 2, 3], /type float32, not a value of type string at 0/);
  refuses([0, 1, null, 3], /not null at 2/);
  refuses([0, 1, 2, 3n], /bigint at 3/);
  refuses(new BigInt64Array(4), /not BigInt64Array/);
  assert.deepEqual([...model.inputs.x], [5, 6, 7, 8], 'nothing of it was copied');
  for (const dims of [null, 1, 'x']) assert.throws(() => model.run(dims), { name: 'MaquetteError', status: 3, message: /are an object/ });
  model.inputs.x[0] = NaN;
  assert.throws(() => model.run(), { name: 'MaquetteError', status: 4, message: /^tiny: the data cannot be computed/ });
  assert.throws(() => model.run(), MaquetteError);

  assert.deepEqual(description.inputs, [{ name: 'x', dtype: 1, type: 'float32', dims: [1, 4], symbols: [-1, -1], bytes: 16 }]);
  assert.equal(description.compiler, "maquette 0.1.0 */ `${evil}` '@@files@@'");
  assert.ok(Object.isFrozen(description.inputs[0].dims) && Object.isFrozen(model));

  const [a, b] = await Promise.all([load(), load()]);
  a.inputs.x = [1, 1, 1, 1];
  assert.deepEqual([...b.inputs.x], [0, 0, 0, 0], 'each has memory of its own');

  const plain = await load({ relaxed: false });
  assert.equal(plain.level, 'simd128');
  if (relaxedFlag) assert.equal((await load({ relaxed: true })).level, 'relaxed');
  const lacking = (await use('plain')).load;
  assert.equal((await lacking()).level, 'simd128');
  await fails(lacking({ relaxed: true }), 'this engine lacks a feature', 5);
  await fails((await use('stranger')).load(), 'are not of one compilation');
  await fails(load({ base: 'http://[' }), 'is not a URL');
}

// an engine without SIMD
{
  const { load } = await use('tiny');
  const { validate } = WebAssembly;
  WebAssembly.validate = () => false;
  await fails(load(), 'this engine lacks a feature', 5);
  WebAssembly.validate = validate;
}

// weights in a file
const heavy = async (options) => {
  const seen = [];
  const model = await (await use('heavy')).load({ progress: (loaded, total) => seen.push([loaded, total]), ...options });
  const has = model.level === 'relaxed' ? 2.5 : 1.5;
  assert.deepEqual([...model.run().y], [0, 1, 2, 3].map((v) => v + has));
  assert.deepEqual(seen.at(-1), [3000006, 3000006]);
  assert.ok(seen.every(([loaded], i) => i === 0 || loaded > seen[i - 1][0]));
};
await heavy({});

// names that are anything
{
  const model = await (await use('hostile')).load();
  const names = ['"', '*/ evil() /*', 'a\nb', '__proto__', 'constructor', "'@@files@@'", '\u2028`${x}`\\', '', '名前🦀'];
  assert.deepEqual(Object.keys(model.inputs), names);
  assert.deepEqual(model.description.inputs.map((t) => t.name), names);
  assert.equal(Object.getPrototypeOf(model.inputs), null);
  model.inputs['__proto__'] = [1, 2, 3, 4];
  assert.deepEqual([...model.inputs['__proto__']], [1, 2, 3, 4]);
  assert.ok(model.outputs['__proto__'] instanceof Float32Array);
}

// a view for every type
{
  const { inputs } = await (await use('types')).load();
  const expected = [
    Float32Array, Uint8Array, Int8Array, Uint16Array, Int16Array, Int32Array, BigInt64Array, Uint8Array, Uint16Array, Float64Array,
    Uint32Array, BigUint64Array, Uint16Array, Uint8Array, Int8Array,
  ];
  assert.deepEqual(Object.values(inputs).map((view) => view.constructor), expected);
  inputs.t7 = [-(2n ** 63n), 5n];
  assert.deepEqual([...inputs.t7], [-(2n ** 63n), 5n]);
  assert.throws(() => (inputs.t7 = [1n, 2]), { status: 3, message: /type int64, not 2 at 1/ });
  assert.throws(() => (inputs.t13 = new Float64Array(2)), { status: 3, message: /not Float64Array/ });
  inputs.t9 = [true, 0];
  assert.deepEqual([...inputs.t9], [1, 0]);
}

// named dimensions
{
  const model = await (await use('dynamic')).load();
  assert.deepEqual({ ...model.dims }, { batch: 4, twice: 8 });
  assert.equal(model.run({ batch: 2 }).y.length, 4);
  assert.deepEqual({ ...model.dims }, { batch: 2, twice: 4 });
  assert.deepEqual([model.inputs.x.length, model.run().y.length], [4, 4]);
  model.inputs.x = [1, 2];
  assert.throws(() => (model.inputs.x = [1, 2, 3, 4, 5]), { status: 3, message: 'input "x" takes up to 4 values, not 5' });
  const refuses = (dims, part) => assert.throws(() => model.run(dims), { name: 'MaquetteError', status: 3, message: part });
  refuses({ batch: 5 }, /from 1 to 4, not 5/);
  refuses({ batch: 1.5 }, /not 1.5/);
  refuses({ batch: Symbol('2') }, /not a value of type symbol/);
  refuses({ twice: 2 }, /no dimension "twice"/);
  refuses({ batch: 3 }, /^dynamic: an input has the wrong size/);
}

// over HTTP: with the right type, with a wrong one, cut, too long, missing
{
  let mode;
  const server = createServer(async (request, response) => {
    const [name, print] = request.url.split('/').pop().split('?v=');
    assert.match(print, /^[0-9a-f]{16}$/);
    const type = name.endsWith('.wasm') && mode !== 'untyped' ? 'application/wasm' : 'application/octet-stream';
    let body = await readFile(new URL(name, folder)).catch(() => null);
    if (body === null || (mode === 'missing' && name.endsWith('.bin'))) return response.writeHead(404).end();
    if (mode === 'broken' && name.endsWith('.bin')) {
      response.writeHead(200, { 'content-length': body.length }).write(body.subarray(0, 99999), () => response.destroy());
      return;
    }
    if (name.endsWith('.bin') && mode === 'other') body = body.with(body.length - 1, 9);
    if (name.endsWith('.bin') && mode === 'sign') body = body.with(1000003, body[1000003] ^ 128);
    // the section of the fingerprint takes 19 bytes
    if (name.endsWith('.wasm') && mode === 'unsealed') body = body.subarray(0, -19);
    if (name.endsWith('.wasm') && mode === 'short') body = body.subarray(0, -25);
    if (name.endsWith('.bin') && mode === 'cut') body = body.subarray(0, -4);
    if (name.endsWith('.bin') && mode === 'long') body = Buffer.concat([body, body]);
    response.writeHead(200, { 'content-type': type }).end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${server.address().port}/models`;
  let streamed = 0;
  const { compileStreaming } = WebAssembly;
  WebAssembly.compileStreaming = (response) => ((streamed += 1), compileStreaming(response));
  await heavy({ base });
  assert.equal(streamed, 1);
  mode = 'untyped';
  await heavy({ base: new URL(base) });
  assert.equal(streamed, 1, 'of another type');
  const { load } = await use('heavy');
  for (const [way, part] of [['cut', '3000002 bytes, not 3000006'], ['long', 'more bytes, not 3000006'], ['missing', '404'],
    ['broken', 'broke off'], ['other', 'heavy.bin and heavy.mjs are not of one compilation'], ['sign', 'not of one compilation'],
    ['unsealed', '.wasm and heavy.mjs are not'], ['short', 'cannot be compiled']]) {
    mode = way;
    await fails(load({ base }), part);
  }
  mode = undefined;
  await assert.rejects(load({ base, signal: AbortSignal.abort() }), { name: 'AbortError' });
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await fails(load({ base }), 'cannot be fetched');
  await fails(load({ base: new URL('nowhere', folder) }), 'cannot be read');
}

// in a worker
{
  const script = `
    import { parentPort } from 'node:worker_threads';
    const { load } = await import(${JSON.stringify(new URL('heavy.mjs', folder).href)});
    const model = await load({ relaxed: false });
    parentPort.postMessage([...model.run().y]);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`));
  const answer = await new Promise((done, failed) => worker.once('message', done).once('error', failed));
  assert.deepEqual(answer, [1.5, 2.5, 3.5, 4.5]);
}

console.log('all as it should be');

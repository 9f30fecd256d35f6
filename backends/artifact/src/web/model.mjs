/* Neural network '@@name@@' for WebAssembly, compiled by '@@compiler@@'.
   This file and the compiled model's code are unencumbered: they may be used, changed and distributed
   without restriction. Rights in the model itself are its owner's.

   Works in browsers, in workers and in Node, and needs no other script. The interface is docs/wasm.md of the compiler. */

/** What goes in, what comes out: the same as in the JSON beside this file. */
export const description = freeze('@@description@@');

const FILES = '@@files@@';
const ARRAYS = '@@arrays@@';
const STATUS = [
  'ok',
  'a pointer is null or misaligned',
  'the arena is too small',
  'an input has the wrong size, or a symbol is out of its range',
  'the data cannot be computed with: an index out of range',
  'this engine lacks a feature that the model was compiled for',
];
const [BAD_SIZE, LACKS_FEATURE] = [3, 5];

/** `status` is the run's, as in the C interface; null where no run was to blame. */
export class MaquetteError extends Error {
  constructor(message, status = null, options = undefined) {
    super(message, options);
    this.name = 'MaquetteError';
    this.status = status;
  }
}

/** The model, in memory of its own. Options, all of them optional:
    base      URL of the folder with the files; else that of this file
    relaxed   true or false: insist on relaxed or plain SIMD; else what the engine has
    progress  (loaded, total) => ..., bytes of the weight file
    signal    an AbortSignal */
export async function load({ base, relaxed, progress, signal } = {}) {
  const level = choose(relaxed);
  const where = (file) => (base === undefined ? FILES[file]() : beside(file, base));
  const file = `${description.name}.${level}.wasm`;
  const [module, weights] = await Promise.all([
    compile(where(file), signal),
    description.weights_bytes > 0 ? open(where(`${description.name}.bin`), signal) : null,
  ]);
  const { exports } = await WebAssembly.instantiate(module);
  const model = new Model(level, exports, file);
  if (weights !== null) await weights(bytes(exports, 'weights', description.weights_bytes, file), progress);
  return model;
}

class Model {
  #run;
  #symbols;

  constructor(level, exports, file) {
    if (!(exports.memory instanceof WebAssembly.Memory && typeof exports.run === 'function')) throw stranger(file);
    this.level = level;
    this.memory = exports.memory;
    this.description = description;
    this.dims = Object.create(null);
    this.#run = exports.run;
    const { symbols } = description;
    if (symbols.length > 0) {
      this.#symbols = view(BigInt64Array, exports, 'symbols', symbols.length, file);
      symbols.forEach((symbol, i) => (this.#symbols()[i] = BigInt(symbol.max)));
      this.#read();
    }
    const fixed = (tensor) => tensor.dims.reduce((n, dim) => n * dim, 1);
    const actual = (tensor) => tensor.dims.reduce((n, dim, i) => n * this.#dim(dim, tensor.symbols[i]), 1);
    this.inputs = tensors(description.inputs, 'input', exports, file, fixed);
    this.outputs = tensors(description.outputs, 'output', exports, file, actual);
    Object.freeze(this);
  }

  /** Reads the inputs, writes the outputs and returns them. `dims`: named dimensions by name; what is not named stays. */
  run(dims) {
    if (dims !== undefined) this.#write(dims);
    const status = this.#run();
    if (status !== 0) throw new MaquetteError(`${description.name}: ${STATUS[status] ?? `status ${status}`}`, status);
    if (this.#symbols) this.#read();
    return this.outputs;
  }

  #dim(bound, symbol) {
    return symbol < 0 ? bound : this.dims[description.symbols[symbol].name];
  }

  #read() {
    const values = this.#symbols();
    description.symbols.forEach((symbol, i) => (this.dims[symbol.name] = Number(values[i])));
  }

  #write(dims) {
    for (const name of Object.keys(dims)) {
      const index = description.symbols.findIndex((symbol) => symbol.free && symbol.name === name);
      const { min, max } = description.symbols[index] ?? {};
      const value = dims[name];
      if (index < 0) throw new MaquetteError(`no dimension "${name}" is the caller's to give`, BAD_SIZE);
      if (!Number.isInteger(value) || value < min || value > max) {
        throw new MaquetteError(`dimension "${name}" is an integer from ${min} to ${max}, not ${value}`, BAD_SIZE);
      }
      this.#symbols()[index] = BigInt(value);
    }
  }
}

/** Typed arrays over the module's memory by the tensors' names; to assign to one is to copy into it. An input that varies in
    size is dense at its actual size, at the beginning of its array. */
function tensors(list, role, exports, file, length) {
  const all = Object.create(null);
  list.forEach((tensor, i) => {
    const bound = tensor.dims.reduce((n, dim) => n * dim, 1);
    const whole = view(ARRAYS[tensor.dtype], exports, `${role}${i}`, bound, file);
    const get = () => {
      const [array, n] = [whole(), length(tensor)];
      return n === array.length ? array : array.subarray(0, n);
    };
    const varies = tensor.symbols.some((symbol) => symbol >= 0);
    const set = (values) => {
      const array = get();
      if (varies ? values.length > array.length : values.length !== array.length) {
        const takes = `${varies ? 'up to ' : ''}${array.length}`;
        throw new MaquetteError(`${role} "${tensor.name}" takes ${takes} values, not ${values.length}`, BAD_SIZE);
      }
      array.set(values);
    };
    Object.defineProperty(all, tensor.name, { enumerable: true, get, set });
  });
  return Object.freeze(all);
}

/** A function that gives the array at the address in global `name`: the same one, until the memory has grown. */
function view(Type, exports, name, length, file) {
  const { byteOffset } = bytes(exports, name, length * Type.BYTES_PER_ELEMENT, file);
  let array = new Type(exports.memory.buffer, byteOffset, length);
  return () => {
    if (array.buffer !== exports.memory.buffer) array = new Type(exports.memory.buffer, byteOffset, length);
    return array;
  };
}

function bytes(exports, name, length, file) {
  const address = exports[name]?.value >>> 0;
  if (exports[name] === undefined || address + length > exports.memory.buffer.byteLength) throw stranger(file);
  return new Uint8Array(exports.memory.buffer, address, length);
}

const stranger = (file) => new MaquetteError(`${file} and ${description.name}.mjs are not of one compilation`);

// (func (param v128 v128 v128) (result v128) ...): with f32x4.relaxed_madd, with f32x4.add
const probe = (...body) => {
  const module = [0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0];
  return WebAssembly.validate(new Uint8Array([...module, 10, body.length + 4, 1, body.length + 2, 0, ...body, 11]));
};
const PROBES = {
  relaxed: () => probe(32, 0, 32, 1, 32, 2, 253, 133, 2),
  simd128: () => probe(32, 0, 32, 1, 253, 228, 1),
};

function choose(relaxed) {
  const wanted = { true: ['relaxed'], false: ['simd128'] }[relaxed] ?? ['relaxed', 'simd128'];
  const level = wanted.find((level) => description.levels.includes(level) && PROBES[level]());
  if (level !== undefined) return level;
  const [have, want] = [description.levels.join(', '), wanted.join(' or ')];
  throw new MaquetteError(`${description.name}: ${STATUS[LACKS_FEATURE]} (it has ${have}; wanted is ${want})`, LACKS_FEATURE);
}

function beside(file, base) {
  const folder = new URL(base, import.meta.url);
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  return new URL(file, folder);
}

// Node reads files through its own module, whose name bundlers need not look up.
const NODE_FILES = 'node:fs/promises';
const nodeFiles = (url) =>
  url.protocol === 'file:' && globalThis.process?.versions?.node ? import(/* @vite-ignore */ /* webpackIgnore: true */ NODE_FILES) : null;

async function get(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new MaquetteError(`${url.href} cannot be fetched: ${cause.message}`, null, { cause });
  }
  if (!response.ok) throw new MaquetteError(`${url.href}: ${response.status} ${response.statusText}`);
  return response;
}

async function compile(url, signal) {
  const files = await nodeFiles(url);
  if (files) return WebAssembly.compile(await files.readFile(url, { signal }).catch(unreadable(url)));
  const response = await get(url, signal);
  // Engines refuse to compile a stream of any other type; servers often have no name for this one.
  const type = response.headers.get('content-type') ?? '';
  if (/^application\/wasm\s*$/i.test(type) && WebAssembly.compileStreaming) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** A function that fills `target` with the file as it comes, without holding it. */
async function open(url, signal) {
  const files = await nodeFiles(url);
  if (files) return (target, progress) => fillFromFile(files, url, target, progress, signal);
  const response = await get(url, signal);
  return (target, progress) => fillFromStream(response.body.getReader(), url, target, progress);
}

async function fillFromFile(files, url, target, progress, signal) {
  const handle = await files.open(url).catch(unreadable(url));
  try {
    const has = (await handle.stat()).size;
    if (has !== target.length) throw wrongSize(url, has, target.length);
    for (let loaded = 0; loaded < target.length; progress?.(loaded, target.length)) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(target, loaded, Math.min(1 << 20, target.length - loaded));
      if (bytesRead === 0) throw wrongSize(url, loaded, target.length);
      loaded += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

async function fillFromStream(reader, url, target, progress) {
  let loaded = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (loaded + value.length > target.length) throw wrongSize(url, 'more', target.length);
      target.set(value, loaded);
      loaded += value.length;
      progress?.(loaded, target.length);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  if (loaded !== target.length) throw wrongSize(url, loaded, target.length);
}

const unreadable = (url) => (cause) => {
  if (cause.name === 'AbortError') throw cause;
  throw new MaquetteError(`${url.href} cannot be read: ${cause.message}`, null, { cause });
};

const wrongSize = (url, has, expected) => new MaquetteError(`${url.href} has ${has} bytes, not ${expected}: it is cut or belongs to another model`);

function freeze(value) {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(freeze);
  return Object.freeze(value);
}

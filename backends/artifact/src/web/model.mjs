/* Neural network '@@name@@' for WebAssembly, compiled by '@@compiler@@'.
   This file and the compiled model's code are unencumbered: they may be used, changed and distributed
   without restriction. Rights in the model itself are its owner's.

   Works in browsers, in workers and in Node, and needs no other script. The interface is docs/wasm.md of the compiler. */

/** What goes in, what comes out: the same as in the JSON beside this file. */
export const description = freeze('@@description@@');

const FILES = '@@files@@';
const PRINTS = '@@prints@@';
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
  const where = (file) => {
    const url = base === undefined ? FILES[file]() : beside(file, base);
    // A cache has files of this compilation under this name only.
    if (/^https?:$/.test(url.protocol)) url.searchParams.set('v', PRINTS[file]);
    return url;
  };
  const [file, weightFile] = [`${description.name}.${level}.wasm`, `${description.name}.bin`];
  const [module, weights] = await Promise.all([
    compile(where(file), signal),
    description.weights_bytes > 0 ? open(where(weightFile), signal) : null,
  ]);
  const [section = new ArrayBuffer(0)] = WebAssembly.Module.customSections(module, 'maquette');
  if (Array.from(new Uint8Array(section), (byte) => hex(byte, 2)).join('') !== PRINTS[file]) throw stranger(file);
  const { exports } = await WebAssembly.instantiate(module).catch((cause) => {
    throw new MaquetteError(`${file} cannot be instantiated: ${cause.message}`, null, { cause });
  });
  const model = new Model(level, exports, file);
  if (weights !== null) {
    const target = bytes(exports, 'weights', description.weights_bytes, file);
    const print = new Print(target);
    await weights(target, (loaded) => {
      print.upTo(loaded);
      progress?.(loaded, target.length);
    });
    if (print.finish() !== PRINTS[weightFile]) throw stranger(weightFile);
  }
  return model;
}

class Model {
  #run;
  #state;
  #symbols;

  constructor(level, exports, file) {
    if (!(exports.memory instanceof WebAssembly.Memory && typeof exports.run === 'function')) throw stranger(file);
    this.level = level;
    this.memory = exports.memory;
    this.description = description;
    this.dims = Object.create(null);
    this.#run = exports.run;
    if (description.state_bytes > 0) this.#state = view(Uint8Array, exports, 'state', description.state_bytes, file);
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

  /** Forgets what earlier runs left in the model's state; nothing for a model without one. */
  reset() {
    if (description.state_bytes > 0) this.#state().fill(0);
  }

  #dim(bound, symbol) {
    return symbol < 0 ? bound : this.dims[description.symbols[symbol].name];
  }

  #read() {
    const values = this.#symbols();
    description.symbols.forEach((symbol, i) => (this.dims[symbol.name] = Number(values[i])));
  }

  #write(dims) {
    if (typeof dims !== 'object' || dims === null) throw new MaquetteError(`dimensions are an object, not ${said(dims)}`, BAD_SIZE);
    for (const name of Object.keys(dims)) {
      const index = description.symbols.findIndex((symbol) => symbol.free && symbol.name === name);
      const { min, max } = description.symbols[index] ?? {};
      const value = dims[name];
      if (index < 0) throw new MaquetteError(`no dimension "${name}" is the caller's to give`, BAD_SIZE);
      if (!Number.isInteger(value) || value < min || value > max) {
        throw new MaquetteError(`dimension "${name}" is an integer from ${min} to ${max}, not ${said(value)}`, BAD_SIZE);
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
      const fault = (text) => new MaquetteError(`${role} "${tensor.name}" takes ${text}`, BAD_SIZE);
      if (typeof values !== 'object' || !Number.isInteger(values?.length)) throw fault(`an array, not ${said(values)}`);
      if (varies ? values.length > array.length : values.length !== array.length) {
        const takes = `${varies ? 'up to ' : ''}${array.length}`;
        throw fault(`${takes} values, not ${values.length}`);
      }
      const wrong = unfit(values, tensor.type);
      if (wrong !== undefined) throw fault(`values of type ${tensor.type}, not ${wrong}`);
      array.set(values);
    };
    Object.defineProperty(all, tensor.name, { enumerable: true, get, set });
  });
  return Object.freeze(all);
}

/** What is not a number, or not a BigInt where these are wanted, as text. */
function unfit(values, type) {
  const wanted = type.endsWith('int64') ? 'bigint' : 'number';
  if (ArrayBuffer.isView(values)) {
    return values.length === 0 || typeof values[0] === wanted ? undefined : values.constructor.name;
  }
  for (let i = 0; i < values.length; i++) {
    const is = typeof values[i];
    if (is !== wanted && !(is === 'boolean' && type === 'bool')) return `${said(values[i])} at ${i}`;
  }
}

const said = (value) => (typeof value === 'number' || value === null ? `${value}` : `a value of type ${typeof value}`);

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
  if (exports[name] === undefined || address % 64 !== 0 || address + length > exports.memory.buffer.byteLength) throw stranger(file);
  return new Uint8Array(exports.memory.buffer, address, length);
}

const stranger = (file) => new MaquetteError(`${file} and ${description.name}.mjs are not of one compilation`);

const hex = (value, digits) => (value >>> 0).toString(16).padStart(digits, '0');

/** The fingerprint of what has come to `target`, taken as it comes: of the first 8 bytes of every 64. The compiler's is in
    backends/artifact/src/web/print.rs. */
class Print {
  #target;
  #words;
  #at = 0;
  #halves = [1, 2];

  constructor(target) {
    this.#target = target;
    this.#words = new Int32Array(target.buffer, target.byteOffset, target.length >>> 2);
  }

  upTo(loaded) {
    const words = this.#words;
    const end = (loaded >>> 6) * 16;
    let [at, [even, odd]] = [this.#at, this.#halves];
    for (; at < end; at += 16) {
      even = mix(even, words[at]);
      odd = mix(odd, words[at + 1]);
    }
    [this.#at, this.#halves] = [at, [even, odd]];
  }

  /** Zeros complete the last word. */
  finish() {
    const rest = this.#target.subarray(4 * this.#at);
    const words = new Int32Array(2);
    new Uint8Array(words.buffer).set(rest.subarray(0, 8));
    return this.#halves.map((half, i) => hex(rest.length > 4 * i ? mix(half, words[i]) : half, 8)).join('');
  }
}

function mix(half, word) {
  const product = Math.imul(half ^ word, 0x9e3779b1);
  return product ^ (product >>> 15);
}

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
  let folder;
  try {
    folder = new URL(base, import.meta.url);
  } catch (cause) {
    throw new MaquetteError('the option "base" is not a URL', null, { cause });
  }
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
  const source = files ? await files.readFile(url, { signal }).catch(unreadable(url)) : await get(url, signal);
  try {
    return await (files ? WebAssembly.compile(source) : compileResponse(source));
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new MaquetteError(`${url.href} cannot be compiled, it may be cut: ${cause.message}`, null, { cause });
  }
}

async function compileResponse(response) {
  // Engines refuse to compile a stream of any other type; servers often have no name for this one.
  const type = response.headers.get('content-type') ?? '';
  if (/^application\/wasm\s*$/i.test(type) && WebAssembly.compileStreaming) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** A function that fills `target` with the file as it comes, without holding it. */
async function open(url, signal) {
  const files = await nodeFiles(url);
  if (files) return (target, arrived) => fillFromFile(files, url, target, arrived, signal);
  const response = await get(url, signal);
  return (target, arrived) => fillFromStream(response.body.getReader(), url, target, arrived, signal);
}

async function fillFromFile(files, url, target, arrived, signal) {
  const handle = await files.open(url).catch(unreadable(url));
  try {
    const has = (await handle.stat()).size;
    if (has !== target.length) throw wrongSize(url, has, target.length);
    for (let loaded = 0; loaded < target.length; arrived(loaded)) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(target, loaded, Math.min(1 << 20, target.length - loaded)).catch(unreadable(url));
      if (bytesRead === 0) throw wrongSize(url, loaded, target.length);
      loaded += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

async function fillFromStream(reader, url, target, arrived, signal) {
  let loaded = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        if (signal?.aborted) throw cause;
        throw new MaquetteError(`${url.href} broke off: ${cause.message}`, null, { cause });
      });
      if (done) break;
      if (loaded + value.length > target.length) throw wrongSize(url, 'more', target.length);
      target.set(value, loaded);
      loaded += value.length;
      arrived(loaded);
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

/* Types of '@@name@@', compiled by '@@compiler@@'. Unencumbered. */

/** Typed arrays over the model's memory, by ONNX name; to assign to one is to copy into it. Another array takes
    its place when the memory grows, so ask for it anew rather than keep it. A tensor that varies in size
    has room for its upper bound, and is dense at its actual size. */
export interface Inputs {'@@inputs@@'}

/** As `Inputs`; a tensor that varies in size has the size of the last run. */
export interface Outputs {'@@outputs@@'}

/** Named dimensions that the caller gives. */
export interface Dims {'@@dims@@'}

/** Of `load`, all optional. */
export interface Options {
  /** URL of the folder with the files; else that of the module. */
  base?: string | URL;
  /** `true` or `false`: insist on relaxed or plain SIMD; else what the engine has. */
  relaxed?: boolean;
  /** Bytes of the weight file so far and in all. */
  progress?: (loaded: number, total: number) => void;
  signal?: AbortSignal;
}

export interface Quantization {
  /** `value = (stored - zero_point) * scale`: one pair, or one per index of `axis`. */
  readonly scale: readonly number[];
  readonly zero_point: readonly number[];
  readonly axis: number | null;
}

export interface Tensor {
  readonly name: string;
  /** ONNX `TensorProto.DataType`, and what it is called. */
  readonly dtype: number;
  readonly type: string;
  /** Upper bounds. */
  readonly dims: readonly number[];
  /** Per dimension -1 or an index into the symbols. */
  readonly symbols: readonly number[];
  readonly bytes: number;
  readonly quantization?: Quantization;
}

export interface Description {
  readonly abi: number;
  readonly name: string;
  readonly target: string;
  readonly levels: readonly string[];
  readonly compiler: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly symbols: readonly { readonly name: string; readonly min: number; readonly max: number; readonly free: boolean }[];
  readonly state_bytes: number;
  readonly weights_bytes: number;
}

export interface Model {
  readonly level: 'simd128' | 'relaxed';
  readonly memory: WebAssembly.Memory;
  readonly description: Description;
  readonly inputs: Inputs;
  readonly outputs: Outputs;
  /** Named dimensions as of the last run. */
  readonly dims: { readonly [name: string]: number };
  /** Reads the inputs, writes the outputs and returns them. Throws `MaquetteError`. */
  run(dims?: Dims): Outputs;
  /** Forgets what earlier runs left in the model's state; nothing for a model without one. */
  reset(): void;
}

export declare class MaquetteError extends Error {
  /** The run's, as in the C interface; `null` where no run was to blame. */
  readonly status: number | null;
}

export declare const description: Description;

export declare function load(options?: Options): Promise<Model>;

// What `tsc` must accept of the types that web.rs wrote beside this file, and where it must not.
import { load, MaquetteError, description, type Model } from './tiny.mjs';
import * as hostile from './hostile.mjs';
import * as types from './types.mjs';
import * as dynamic from './dynamic.mjs';

const model: Model = await load({ base: new URL('https://example.org/'), relaxed: false, progress: (n, of) => console.log(n / of) });
const x: Float32Array = model.inputs.x;
model.inputs.x = [1, 2, 3, 4];
const y: Float32Array = model.run().y;
console.log(x, y, model.memory.buffer.byteLength, description.inputs[0]?.dims.length);
try {
  model.run();
} catch (error) {
  const status: number | null = error instanceof MaquetteError ? error.status : null;
  console.log(status);
}
const odd = await hostile.load();
odd.inputs['__proto__'] = odd.inputs['*/ evil() /*'];
odd.inputs['a\nb'] = odd.inputs['名前🦀'];
const wide: BigInt64Array = (await types.load()).inputs.t7;
(await types.load()).inputs.t13 = [1n, wide[0] ?? 0n];
(await dynamic.load()).run({ batch: 2 });

// @ts-expect-error no such input
model.inputs.z;
// @ts-expect-error whole numbers of 64 bits are bigint
(await types.load()).inputs.t7 = [1];
// @ts-expect-error the inputs stay where they are
model.inputs = odd.inputs;
// @ts-expect-error not the caller's to give
(await dynamic.load()).run({ twice: 2 });
// @ts-expect-error no such option
load({ relax: true });

// The page: strokes on a sheet, and beside them what the network makes of them. `image` is what stands between the two; it
// needs no page, so that a script can use it.

// ---------------------------------------------------------------- from strokes to what the network reads

// The data set was counted on bitmaps of 32x32, in cells of 4x4 dots; its average image is 23 dots wide and has 312 black ones.
// The numbers below are near its own, and those with which most drawings of tests/web, bent at random, were read.
const SIDE = 32;
const INK = 260;
const PEN = { thin: 4.4, thick: 6 };
const WIDEST = 23;
const NARROW = 0.93;
const MIDDLE = 16.2;

/** 64 numbers from 0 (paper) to 16 (ink), rows from the top; `null` if nothing is drawn. `strokes`: lists of points `[x, y]` in
    any one unit. Like the digits that were learned from, this one fills the height, is centred from left to right, not wider
    than 23 of 32, and drawn with a pen as broad as it takes to make about as much ink. */
export function image(strokes) {
  const points = strokes.flat();
  if (points.length === 0) return null;
  const [left, right] = range(points.map(([x]) => x));
  const [top, bottom] = range(points.map(([, y]) => y));
  const placed = (pen) => {
    // A dash stays a dash, and a dot a dot.
    const sy = (SIDE - pen) / Math.max(bottom - top, 0.4 * (right - left), 1e-6);
    const sx = Math.min(NARROW * sy, (WIDEST - pen) / Math.max(right - left, 1e-6));
    const place = ([x, y]) => [MIDDLE + sx * (x - (left + right) / 2), SIDE / 2 + sy * (y - (top + bottom) / 2)];
    return segments(strokes.map((stroke) => stroke.map(place)));
  };
  const length = placed(PEN.thin).reduce((sum, [[ax, ay], [bx, by]]) => sum + Math.hypot(bx - ax, by - ay), 0);
  const pen = Math.min(PEN.thick, Math.max(PEN.thin, INK / Math.max(length, 1)));
  return cells(placed(pen), pen / 2);
}

/** In one pass: a long drawing has more points than a call takes arguments. */
function range(values) {
  return values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
}

/** Pairs of points; a dot is a pair of equal ones. */
function segments(lines) {
  return lines.flatMap((line) => (line.length === 1 ? [[line[0], line[0]]] : line.slice(1).map((point, i) => [line[i], point])));
}

/** Counts the dots whose middle is within `radius` of a segment. */
function cells(lines, radius) {
  const dots = new Uint8Array(SIDE * SIDE);
  for (const [a, b] of lines) {
    const [x0, x1] = range([a[0], b[0]]);
    const [y0, y1] = range([a[1], b[1]]);
    for (let y = Math.max(0, Math.floor(y0 - radius)); y < Math.min(SIDE, y1 + radius); y++) {
      for (let x = Math.max(0, Math.floor(x0 - radius)); x < Math.min(SIDE, x1 + radius); x++) {
        if (distance(x + 0.5, y + 0.5, a, b) <= radius) dots[y * SIDE + x] = 1;
      }
    }
  }
  const counts = new Float32Array(64);
  dots.forEach((dot, i) => (counts[(i >> 7) * 8 + ((i & 31) >> 2)] += dot));
  return counts;
}

function distance(x, y, [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

// ---------------------------------------------------------------- the page

async function start(page) {
  const at = (id) => page.getElementById(id);
  const bars = Array.from({ length: 10 }, (_, digit) => bar(page, at('bars'), digit));
  let model = null;
  const show = (strokes) => {
    const pixels = image(strokes);
    drawGrid(at('seen'), pixels);
    page.body.classList.toggle('empty', pixels === null);
    at('clear').disabled = pixels === null;
    if (model === null || pixels === null) return answer(at, bars, null);
    model.inputs.image = pixels;
    answer(at, bars, model.run().probabilities);
  };
  const sheet = new Sheet(at('sheet'), show, () => settle(at, model, bars));
  at('clear').addEventListener('click', () => {
    sheet.clear();
    at('sheet').focus({ preventScroll: true });
  });
  try {
    const { load } = await import('./digits.mjs');
    model = await load();
  } catch (error) {
    at('fault').textContent = `The network could not be loaded: ${error.message}`;
    at('fault').hidden = false;
    return;
  }
  page.body.dataset.ready = model.level;
  at('level').textContent = model.level === 'relaxed' ? 'relaxed SIMD' : 'plain SIMD';
  at('size').textContent = size();
  show(sheet.strokes);
}

function bar(page, list, digit) {
  const item = page.createElement('li');
  item.innerHTML = `<span class="share"></span><span class="column"><i></i></span><b>${digit}</b>`;
  list.append(item);
  return { item, share: item.querySelector('.share'), fill: item.querySelector('i') };
}

/** `probabilities`: ten, or `null` for no answer. */
function answer(at, bars, probabilities) {
  const best = probabilities === null ? -1 : probabilities.indexOf(Math.max(...probabilities));
  bars.forEach(({ item, share, fill }, digit) => {
    const p = probabilities?.[digit] ?? 0;
    fill.style.transform = `scaleY(${p.toFixed(4)})`;
    share.textContent = p >= 0.005 ? `${(100 * p).toFixed(0)}%` : '';
    item.classList.toggle('best', digit === best);
  });
  at('answer').textContent = best < 0 ? '?' : best;
  at('sure').textContent = best < 0 ? 'nothing drawn yet' : `${certainty(probabilities[best])}, ${(100 * probabilities[best]).toFixed(1)}\u00a0%`;
}

const certainty = (p) => (p > 0.9 ? 'quite sure' : p > 0.6 ? 'probably' : 'a guess');

/** Once a stroke is done: says the answer to those who listen to the page, and takes the time. */
function settle(at, model, bars) {
  const best = bars.findIndex(({ item }) => item.classList.contains('best'));
  at('spoken').textContent = best < 0 ? 'The sheet is empty.' : `This looks like a ${best}: ${at('sure').textContent}.`;
  if (model === null || best < 0) return;
  // Clocks in browsers are coarse, a run is short: as many runs as fill three milliseconds.
  let runs = 0;
  const start = performance.now();
  do for (let i = 0; i < 20; i++, runs++) model.run();
  while (performance.now() - start < 3);
  const micros = (1000 * (performance.now() - start)) / runs;
  at('latency').textContent = `${micros < 10 ? micros.toFixed(1) : micros.toFixed(0)} µs`;
}

function size() {
  const files = performance.getEntriesByType('resource').filter(({ name }) => /digits[^/]*\.(wasm|mjs)$/.test(name));
  return `${(files.reduce((sum, file) => sum + file.decodedBodySize, 0) / 1000).toFixed(0)} kB`;
}

/** The 8x8 image, as the network gets it. */
function drawGrid(canvas, pixels) {
  const context = canvas.getContext('2d');
  const color = getComputedStyle(canvas).color;
  context.clearRect(0, 0, 8, 8);
  context.fillStyle = color;
  pixels?.forEach((value, i) => {
    context.globalAlpha = value / 16;
    context.fillRect(i & 7, i >> 3, 1, 1);
  });
  context.globalAlpha = 1;
}

/** A square to draw on with a finger, a pen, a mouse, or the keys: arrows move, space puts the pen down and takes it up. Strokes
    are kept as points from 0 to 1, so that the sheet may change its size. */
class Sheet {
  strokes = [];
  #canvas;
  #changed;
  #settled;
  #stroke = null;
  #keys = { x: 0.5, y: 0.25, shown: false, down: false };

  constructor(canvas, changed, settled) {
    [this.#canvas, this.#changed, this.#settled] = [canvas, changed, settled];
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => this.#up());
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('blur', () => ((this.#keys.shown = this.#keys.down = false), this.#paint()));
    new ResizeObserver(() => this.#paint()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#update());
  }

  clear() {
    [this.strokes, this.#stroke] = [[], null];
    Object.assign(this.#keys, { x: 0.5, y: 0.25, down: false });
    this.#update();
    this.#settled();
  }

  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const within = (v) => Math.max(0, Math.min(1, v));
    return [within((clientX - left) / width), within((clientY - top) / height)];
  }

  #down(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#keys.shown = this.#keys.down = false;
    this.strokes.push((this.#stroke = [this.#point(event)]));
    this.#update();
  }

  #move(event) {
    if (this.#stroke === null || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length > 0 ? events : [event]) this.#stroke.push(this.#point(one));
    this.#update();
  }

  #up() {
    if (this.#stroke === null) return;
    this.#stroke = null;
    this.#settled();
  }

  #key(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const keys = this.#keys;
    if (event.key === 'Escape' || event.key === 'Delete' || event.key === 'Backspace') return this.clear();
    if (event.key === ' ') {
      keys.down = !keys.down;
      if (keys.down) this.strokes.push([[keys.x, keys.y]]);
      else this.#settled();
    } else if (dx !== 0 || dy !== 0) {
      const within = (v) => Math.max(0.06, Math.min(0.94, v));
      [keys.x, keys.y] = [within(keys.x + dx / 20), within(keys.y + dy / 20)];
      if (keys.down) this.strokes.at(-1).push([keys.x, keys.y]);
    } else return;
    event.preventDefault();
    keys.shown = true;
    this.#update();
  }

  #update() {
    this.#paint();
    this.#changed(this.strokes);
  }

  #paint() {
    const canvas = this.#canvas;
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext('2d');
    const style = getComputedStyle(canvas);
    context.clearRect(0, 0, side, side);
    context.lineWidth = side * 0.055;
    context.lineCap = context.lineJoin = 'round';
    context.strokeStyle = style.color;
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(stroke[0][0] * side, stroke[0][1] * side);
      // Curves through the middles round off what a slow device sees as corners.
      stroke.slice(1).forEach(([x, y], i) => {
        const [fromX, fromY] = stroke[i];
        context.quadraticCurveTo(fromX * side, fromY * side, ((fromX + x) / 2) * side, ((fromY + y) / 2) * side);
      });
      // For a dot, a line to where it is.
      const [x, y] = stroke.at(-1);
      context.lineTo(x * side, y * side);
      context.stroke();
    }
    if (!this.#keys.shown) return;
    const { x, y, down } = this.#keys;
    context.beginPath();
    context.arc(x * side, y * side, side * 0.032, 0, 7);
    context.lineWidth = side * 0.008;
    context.strokeStyle = context.fillStyle = style.getPropertyValue('--accent');
    if (down) context.fill();
    context.stroke();
  }
}

if (globalThis.document) start(document);

// Draws on the page of examples/web as people do, in Chromium without a window, and reads what it answers.
// Arguments: the folder that examples/web/build filled, and one for screenshots. CHROMIUM names the browser.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { DRAWINGS } from './drawings.mjs';

const [site, shots] = process.argv.slice(2);
const TYPES = { '.html': 'text/html', '.css': 'text/css', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/** The files over HTTP, as any static server has them. */
async function serve() {
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://here').pathname.slice(1) || 'index.html';
    const body = /^[\w.]+$/.test(name) ? await readFile(join(site, name)).catch(() => null) : null;
    response.writeHead(body === null ? 404 : 200, { 'content-type': TYPES[extname(name)] ?? 'application/octet-stream' }).end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => (server.closeAllConnections(), server.close()) };
}

const answer = (page) => page.textContent('#answer');

/** With the mouse, or with a finger. */
async function draw(page, strokes, touch) {
  const box = await page.locator('#sheet').boundingBox();
  const place = ([x, y]) => ({ x: box.x + x * box.width, y: box.y + y * box.height });
  const session = touch ? await page.context().newCDPSession(page) : null;
  const finger = (type, touchPoints) => session.send('Input.dispatchTouchEvent', { type, touchPoints });
  for (const stroke of strokes) {
    const [first, ...rest] = stroke.map(place);
    if (touch) {
      await finger('touchStart', [first]);
      for (const point of rest) await finger('touchMove', [point]);
      await finger('touchEnd', []);
    } else {
      await page.mouse.move(first.x, first.y);
      await page.mouse.down();
      for (const { x, y } of rest) await page.mouse.move(x, y, { steps: 3 });
      await page.mouse.up();
    }
  }
}

async function open(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  await page.goto(url);
  return { context, page, faults };
}

/** Every way of writing, the numbers beside it, the button that clears. */
async function reads(browser, url, name, options, wanted) {
  const { context, page, faults } = await open(browser, url, options);
  await page.waitForSelector('body[data-ready]');
  const level = await page.getAttribute('body', 'data-ready');
  await page.screenshot({ path: join(shots, `${name}.empty.png`) });
  let right = 0;
  for (const [way, strokes] of Object.entries(DRAWINGS)) {
    if (!wanted(way)) continue;
    await draw(page, strokes, options.hasTouch);
    const said = await answer(page);
    assert.equal(said, way[0], `${name}: ${way}`);
    const shares = await page.$$eval('#bars i', (bars) => bars.map((bar) => Number(bar.style.transform.match(/[\d.]+/)[0])));
    assert.equal(shares.length, 10);
    assert.ok(Math.abs(shares.reduce((a, b) => a + b) - 1) < 0.002 && shares.indexOf(Math.max(...shares)) === Number(said), `${shares}`);
    assert.match(await page.textContent('#spoken'), new RegExp(`^This looks like a ${said}: `));
    assert.match(await page.textContent('#latency'), /^[\d.]+ µs$/);
    right += 1;
    if (way === '8 circles' || way === '5 one stroke') await page.screenshot({ path: join(shots, `${name}.${way[0]}.png`) });
    await page.click('#clear');
    assert.deepEqual([await answer(page), await page.isDisabled('#clear')], ['?', true]);
  }
  const { scroll, width } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: innerWidth }));
  assert.ok(scroll <= width, `${name} is ${scroll} wide on ${width}`);
  assert.match(await page.textContent('#size'), /^\d+ kB$/);
  assert.deepEqual(faults, []);
  console.log(`${name}: ${right} drawings read (${level}, ${await page.textContent('#latency')} a run)`);
  await context.close();
}

/** The pen moved by keys alone: down the middle is a one. */
async function keys(browser, url) {
  const { context, page, faults } = await open(browser, url, { viewport: { width: 1000, height: 700 } });
  await page.waitForSelector('body[data-ready]');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'sheet');
  await page.keyboard.press('Space');
  for (let i = 0; i < 10; i++) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Space');
  assert.equal(await answer(page), '1');
  await page.screenshot({ path: join(shots, 'keys.png') });
  await page.keyboard.press('Escape');
  assert.equal(await answer(page), '?');
  assert.deepEqual(faults, []);
  await context.close();
}

/** No network, in the other sense: the page says so and stays usable. */
async function fails(browser, url) {
  const { context, page } = await open(browser, url, { viewport: { width: 390, height: 844 } });
  await page.route(/\.wasm(\?|$)/, (route) => route.fulfill({ status: 404, body: '' }));
  await page.reload();
  await page.waitForSelector('#fault:not([hidden])');
  assert.match(await page.textContent('#fault'), /could not be loaded.*404/);
  await page.screenshot({ path: join(shots, 'fault.png') });
  await context.close();
}

/** What stands between strokes and network needs no page: sizes, places and pens make no difference to it. */
async function prepares() {
  const { image } = await import(pathToFileURL(join(site, 'page.mjs')));
  assert.equal(image([]), null);
  for (const strokes of Object.values(DRAWINGS)) {
    const cells = image(strokes);
    assert.ok(cells.length === 64 && cells.every((cell) => Number.isInteger(cell) && cell >= 0 && cell <= 16));
    const rows = Array.from({ length: 8 }, (_, row) => cells.subarray(8 * row, 8 * row + 8).some((cell) => cell > 0));
    assert.ok(rows.every(Boolean), 'it fills the height');
    assert.deepEqual(image(strokes.map((stroke) => stroke.map(([x, y]) => [40 + 8 * x, 8 * y - 16]))), cells);
  }
  for (const odd of [[[[0.5, 0.5]]], [[[0, 0.5], [1, 0.5]]], [Array.from({ length: 200000 }, (_, i) => [(i % 7) / 7, (i % 11) / 11])]]) {
    assert.ok(image(odd).some((cell) => cell > 0));
  }
}

/** Drawings as unsteady hands make them: widened, turned, slanted and shaken, the same ones each time. */
async function trembles() {
  const [{ image }, { load }] = await Promise.all(['page.mjs', 'digits.mjs'].map((file) => import(pathToFileURL(join(site, file)))));
  const model = await load();
  let state = 1;
  const even = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 1) / 2 ** 32;
  const normal = (deviation) => deviation * Math.sqrt(-2 * Math.log(even())) * Math.cos(2 * Math.PI * even());
  let [right, all] = [0, 0];
  for (const [way, strokes] of Object.entries(DRAWINGS)) {
    for (let i = 0; i < 60; i++, all++) {
      const [wide, high, slant, turn] = [1 + normal(0.15), 1 + normal(0.1), normal(0.12), normal(0.07)];
      const bend = ([x, y]) => {
        const [u, v] = [wide * (x + normal(0.012)) + slant * y, high * (y + normal(0.012))];
        return [u * Math.cos(turn) - v * Math.sin(turn), u * Math.sin(turn) + v * Math.cos(turn)];
      };
      model.inputs.image = image(strokes.map((stroke) => stroke.map(bend)));
      const { probabilities } = model.run();
      right += probabilities.indexOf(Math.max(...probabilities)) === Number(way[0]);
    }
  }
  console.log(`unsteady hands: ${right} of ${all} drawings read (${((100 * right) / all).toFixed(1)} %)`);
  assert.ok(right >= 0.96 * all);
}

await prepares();
await trembles();
const profile = await mkdtemp(join(tmpdir(), 'chromium-'));
const flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
const server = await serve();
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: flags.split(' '),
});
try {
  const browser = context.browser();
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: 'dark' };
  await reads(browser, server.url, 'desktop', { viewport: { width: 1280, height: 800 } }, () => true);
  await reads(browser, server.url, 'desktop dark', { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' }, (way) => way[0] === '8');
  await reads(browser, server.url, 'phone', phone, (way) => /^\d (plain|round|flag|closed|one|curl|circles)/.test(way));
  await reads(browser, server.url, 'phone light', { ...phone, viewport: { width: 320, height: 568 }, colorScheme: 'light' }, (way) => way[0] === '5');
  await keys(browser, server.url);
  await fails(browser, server.url);
} finally {
  await context.close();
  server.close();
  await rm(profile, { recursive: true, force: true });
}

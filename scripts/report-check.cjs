// Opens pages of `memtrain report` in Chromium and does what a reader does; see report-check.sh.
// usage: node report-check.cjs CHROMIUM SHOTS PAGE…
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const [browser, shots, ...pages] = process.argv.slice(2);
const VIEWS = [
  { width: 1280, height: 900, colorScheme: "light" },
  { width: 1280, height: 900, colorScheme: "dark" },
  { width: 390, height: 844, colorScheme: "light" },
  { width: 390, height: 844, colorScheme: "dark" },
];

// How many colours a chart's canvas has; one that was not drawn has none.
const colours = (page) =>
  page.$$eval("#charts canvas", (canvases) =>
    canvases.map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const found = new Set();
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 0) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
      return found.size;
    }));

async function isDrawn(page, when) {
  const drawn = await colours(page);
  const figures = await page.locator("#charts figure").count();
  assert.ok(drawn.length === figures && figures >= 6, `${when}: ${drawn.length} of ${figures} charts have a canvas`);
  assert.ok(drawn.every((count) => count > 3), `${when}: charts are empty, colours ${drawn}`);
  return figures;
}

async function fits(page, when) {
  const { wide, room } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: document.documentElement.clientWidth }));
  assert.ok(wide <= room, `${when}: ${wide} pixels wide in ${room}`);
}

async function check(page, name) {
  const charts = await isDrawn(page, name);
  await fits(page, name);

  // The newest values without a pointer, those under it with one.
  const value = () => page.locator("#charts figure").first().locator(".u-legend .u-value").first().textContent();
  const newest = await value();
  assert.match(newest, /^\d+$/, `${name}: no newest step`);
  const over = page.locator("#charts .u-over").first();
  await over.scrollIntoViewIfNeeded();
  await over.hover({ position: { x: 3, y: 20 } });
  const first = await value();
  assert.ok(Number(first) < Number(newest), `${name}: ${first} under the pointer, ${newest} at the end`);
  await page.mouse.move(0, 0);
  await page.waitForFunction((newest) => document.querySelector("#charts .u-value").textContent === newest, newest);

  // Keys on a chart go from step to step.
  await page.locator("#charts figure").first().focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  assert.ok(Number(await value()) > Number(first), `${name}: keys do not move`);

  // Logarithmic values, and back.
  await page.keyboard.press("l");
  assert.ok(await page.locator("#log").isChecked());
  await isDrawn(page, `${name}, logarithmic`);
  await page.keyboard.press("l");

  // A reading opens by a click and shows a chunk between memories.
  const closed = page.locator("details.reading:not([open])").first();
  const id = await closed.getAttribute("id");
  await closed.locator("> summary").click();
  const reading = page.locator(`#${id}`);
  assert.ok(await reading.locator(".read").first().isVisible(), `${name}: ${id} shows nothing`);
  const parts = await reading.locator(".read").first().locator(".text").allTextContents();
  assert.ok(parts.length === 3 && parts.every((text) => text.trim()), `${name}: ${JSON.stringify(parts)}`);
  await fits(page, `${name}, a reading open`);

  // Search finds by a key: what holds it stays and opens, all else goes.
  await page.locator("h2").first().click();
  await page.keyboard.press("/");
  const article = page.locator("article.document").last();
  const wanted = (await article.locator("h3").textContent()).split(/[:,]/)[0];
  await page.keyboard.type(wanted.toUpperCase());
  await page.waitForFunction(() => / of /.test(document.getElementById("found").textContent));
  const all = await page.locator("article.document").count();
  const away = await page.locator("article.document.away").count();
  assert.ok(away > 0 && away < all, `${name}: ${away} of ${all} documents are away`);
  assert.ok(await article.isVisible());
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("article.document.away").count(), 0);

  // Keys go through the rollouts.
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const focused = await page.evaluate(() => document.activeElement.matches("details.reading > summary"));
  assert.ok(focused, `${name}: j goes nowhere`);

  // Light and dark by hand.
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const seen = new Set();
  for (let times = 0; times < 3; times++) {
    await page.locator("#theme").click();
    seen.add(await background());
    await isDrawn(page, `${name}, ${await page.locator("#theme").textContent()}`);
  }
  assert.equal(seen.size, 2, `${name}: ${[...seen]}`);
  return charts;
}

(async () => {
  const opened = await chromium.launch({
    executablePath: browser,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    for (const file of pages) {
      for (const { width, height, colorScheme } of VIEWS) {
        const name = `${path.basename(file, ".html")}-${width}-${colorScheme}`;
        const page = await opened.newPage({ viewport: { width, height }, colorScheme });
        const wrong = [];
        page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
        page.on("pageerror", (error) => wrong.push(String(error)));
        page.on("request", (request) => /^(file|data):/.test(request.url()) || wrong.push(`fetches ${request.url()}`));
        await page.goto(pathToFileURL(file).href);
        await page.waitForSelector("#charts canvas");
        await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
        const charts = await check(page, name);
        assert.deepEqual(wrong, [], name);
        console.log(`${name}: ${charts} charts, no errors`);
        await page.close();
      }
    }
  } finally {
    await opened.close();
  }
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});

// Runs the journeys of one screen in Chromium, and looks at each of its states on a phone and on a desktop, light and dark.
// Usage: node driver.cjs, with a JSON object on standard input; `journey` names the file with the journeys.
// It prints one JSON object: what was wrong, and the steps that were done.

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PHONE = { width: 390, height: 844 }, DESKTOP = { width: 1280, height: 800 };
const SMALLEST = { width: 320, height: 640 }, ZOOMED = { width: 640, height: 400 }; // 400 % and 200 % of a desktop
const NARROW = 700, SLOWER = 6, VISITS = 5;
const VIEWS = [["light", PHONE], ["dark", DESKTOP], ["dark", PHONE], ["light", DESKTOP]];
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const found = { faults: [], violations: [], wide: [], pwned: [], steps: [], loads: {}, speeds: {} };
let isRefusalExpected = false, current = null, looks = 0;

/** Note console errors, and everything that the policy of the page refuses. */
async function watch(page) {
  page.on("response", (response) => { if (response.status() >= 400 && !isRefusalExpected) found.faults.push(`${response.status()} ${response.url()}`); });
  page.on("pageerror", (error) => found.faults.push(error.message));
  page.on("console", (message) => {
    // The browser itself reports the status of each refused request.
    const isRefusal = /status of (4|5)\d\d|ERR_CONNECTION|ERR_INCOMPLETE|ERR_FAILED/.test(message.text());
    if (message.type() === "error" && !(isRefusal && isRefusalExpected)) found.faults.push(message.text());
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
}

/** Check a page in two views that cover both themes and both widths; in a longer run, check all four. */
async function look(page, name) {
  if (!given.looks) return;
  looks += 1;
  const views = given.length > 1 || given.shots ? VIEWS : looks % 2 ? VIEWS.slice(0, 2) : VIEWS.slice(2);
  for (const [scheme, size] of views) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await resize(page, size);
    const at = `${name}-${scheme}-${size.width}`;
    found.wide.push(...(await page.evaluate(standingOut)).map((one) => `${at}: ${one}`));
    await page.evaluate(axe); // not a script element, which the policy of the page refuses
    const result = await page.evaluate((rules) => window.axe.run({ runOnly: rules }), RULES);
    for (const one of result.violations) {
      found.violations.push(`${at}: ${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
    }
    if (given.shots) await page.screenshot({ path: path.join(given.shots, `${at}.png`) });
  }
  // Shells pass on each new size, also to a connection that the journey cuts meanwhile: their screen is looked at in the first two.
  const others = given.length > 1 ? [SMALLEST, ZOOMED] : [SMALLEST];
  for (const size of path.basename(given.journey) === "terminals.cjs" ? [] : others) {
    await resize(page, size);
    found.wide.push(...(await page.evaluate(standingOut)).map((one) => `${name}-${size.width}: ${one}`));
  }
  await page.setViewportSize(DESKTOP);
  await note(page, name);
}

/** The page follows its new width after it is painted: on a phone an open drawer makes the rest inert. */
async function resize(page, size) {
  await page.setViewportSize(size);
  await page.waitForFunction((isPhone) => {
    const main = document.getElementById("main");
    return !main || main.inert === (isPhone && Boolean(document.querySelector(".drawer")));
  }, size.width < NARROW);
}

/** Elements that stand out of the page to the side, or out of the part of it that they are in. Runs in the page. */
function standingOut() {
  const outside = [], parts = "html, body, .app, #app, main, .drawer, .drawer > .in, dialog, .menu, .topbar, .bottombar, .toasts";
  const walk = (element, left, right) => {
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (style.display === "none" || style.visibility === "hidden" || style.clipPath !== "none") return;
    if (style.display !== "contents" && box.width && (box.right > right + 1 || box.left < left - 1)) {
      outside.push(`${element.localName}.${element.getAttribute("class")} from ${Math.round(box.left)} to ${Math.round(box.right)} of ${Math.round(right)}: ${element.textContent.slice(0, 40)}`);
    } else if (element.matches(parts)) {
      if (element.scrollWidth > element.clientWidth + 1) outside.push(`${element.localName}.${element.className} scrolls to ${element.scrollWidth} of ${element.clientWidth}`);
      for (const child of element.children) walk(child, Math.max(left, box.left), Math.min(right, box.right));
    } else if (style.overflowX === "visible" && element.localName !== "svg") {
      for (const child of element.children) walk(child, left, right);
    }
  };
  walk(document.documentElement, 0, innerWidth);
  return outside.slice(0, 5);
}

/** Note what the policy refused so far, and whether a planted script ran. */
async function note(page, name) {
  found.faults.push(...(await page.evaluate(() => window.violations?.splice(0) ?? [])));
  if (await page.evaluate(() => window.pwned)) found.pwned.push(name);
}

/** A first visit with an empty cache: its requests, and their compressed size. */
async function load(browser, context, place, ready) {
  const fresh = await browser.newContext({ storageState: await context.storageState() });
  const page = await fresh.newPage();
  const session = await fresh.newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0, requests = 0;
  session.on("Network.requestWillBeSent", () => { requests += 1; });
  session.on("Network.loadingFinished", (event) => { bytes += event.encodedDataLength; });
  await page.goto(`${given.url}${place}`);
  await page.locator(ready).first().waitFor();
  await page.evaluate(() => new Promise((done) => requestIdleCallback(done)));
  found.loads[place] = { bytes, requests };
  await fresh.close();
}

/** How long a place takes on a slow CPU until `ready` is there, and how long a blank page takes, in ms: the medians of several visits. */
async function speed(browser, context, place, ready) {
  const fresh = await browser.newContext({ storageState: await context.storageState() }), blank = "/console/blank";
  await fresh.route((url) => url.pathname === blank, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>Blank</title><main id=blank>Blank</main>" }));
  const visit = async (address, selector) => {
    const page = await fresh.newPage();
    const session = await fresh.newCDPSession(page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
    await page.addInitScript((wanted) => {
      const check = () => { if (document.querySelector(wanted)) window.readyAfter = performance.now(); else requestAnimationFrame(check); };
      requestAnimationFrame(check);
    }, selector);
    await page.goto(`${given.url}${address}`);
    const ms = await (await page.waitForFunction(() => window.readyAfter)).jsonValue();
    await page.close();
    return ms;
  };
  const first = Math.round(await visit(place, ready)), again = [], blanks = [];
  for (let n = 0; n < VISITS; n += 1) {
    blanks.push(await visit(blank, "#blank"));
    again.push(await visit(place, ready));
  }
  const median = (times) => Math.round(times.sort((a, b) => a - b)[Math.floor(times.length / 2)]);
  found.speeds[place] = { first, again: median(again), blank: median(blanks) };
  await fresh.close();
}

/** What a journey works with. */
async function toolsFor(browser) {
  const context = await browser.newContext({ viewport: DESKTOP });
  const page = await context.newPage();
  await watch(page);
  current = page;
  const go = (place) => page.goto(`${given.url}${place}`);
  const heading = (name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor({ state: "attached" });
  const drawer = (name) => page.getByRole("complementary", { name, exact: true }).waitFor();
  const press = (name) => page.getByRole("button", { name, exact: true }).click();
  // Keys one after the other, as quick as a person: on a busy machine, waiting for each takes longer than a chord may.
  const keys = (chord) => Promise.all([...chord].map((key) => page.keyboard.press(key)));
  const expectRefusal = async (work) => {
    isRefusalExpected = true;
    await work();
    isRefusalExpected = false;
  };
  const signIn = async ([name, password]) => {
    await page.fill("#name", name);
    await page.fill("#password", password);
    await press("Sign in");
  };
  /** Open a place, and sign in on the way. */
  const enter = async (place, who) => {
    await expectRefusal(async () => {
      await go(place);
      await heading("Sign in to Gatehouse");
    });
    await signIn(who);
    await page.locator("#main").waitFor();
  };
  /** Let a service be down for a path, or refuse it, while some work is done; then it is back. */
  const down = async (path, work, status = 503) => {
    const isMeant = (url) => url.pathname === path, id = "01a221d4-2f01-7537-8524-afb637df0236";
    await page.route(isMeant, (route) => route.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ code: status === 404 ? "not_found" : "unavailable", request_id: id }) }));
    await expectRefusal(work);
    await page.unroute(isMeant);
  };
  return {
    given, found, down, browser, context, page, go, heading, drawer, press, keys, expectRefusal, signIn, enter,
    done: (step) => found.steps.push(step), look: (name) => look(page, name), load: (place, ready) => load(browser, context, place, ready),
    speed: (place, ready) => speed(browser, context, place, ready),
  };
}

async function main() {
  const browser = await chromium.launch({ executablePath: given.chromium, args: OPTIONS });
  for (const journey of Object.values(require(given.journey))) {
    const tools = await toolsFor(browser);
    await journey(tools);
    await note(tools.page, journey.name);
    await tools.context.close();
  }
  await browser.close();
  console.log(JSON.stringify(found));
}

main().catch(async (error) => {
  if (given.shots) await current?.screenshot({ path: path.join(given.shots, "failed.png") }).catch(() => {});
  console.error(error, JSON.stringify(found));
  process.exit(1);
});

// A browser in the console: signs in, works with every screen, and looks at each of them in both themes and two widths.
// Usage: node console_browser.cjs, with a JSON object on standard input. It prints one JSON object.

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const SIZES = [[390, 844], [1280, 800]];
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const found = { faults: [], violations: [], wide: [], steps: [], loads: {}, pwned: [] };
let isRefusalExpected = false;

/** Notes console errors, and everything that the policy of the page refuses. */
async function watch(page) {
  page.on("response", (response) => { if (response.status() >= 400 && !isRefusalExpected) found.faults.push(`${response.status()} ${response.url()}`); });
  page.on("pageerror", (error) => found.faults.push(error.message));
  page.on("console", (message) => {
    // The browser itself reports the status of each refused request.
    const isRefusal = /status of (4|5)\d\d|ERR_CONNECTION|ERR_INCOMPLETE/.test(message.text());
    if (message.type() === "error" && !(isRefusal && isRefusalExpected)) found.faults.push(message.text());
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
}

/** Check a page in both themes and widths. */
async function look(page, name) {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      const at = `${name}-${scheme}-${width}`;
      const needed = await page.evaluate(() => document.documentElement.scrollWidth);
      if (needed > width) found.wide.push(`${at}: ${needed}`);
      await page.evaluate(axe); // not a script element, which the policy of the page refuses
      const result = await page.evaluate((rules) => window.axe.run({ runOnly: rules }), RULES);
      for (const one of result.violations) {
        found.violations.push(`${at}: ${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
      }
      if (given.shots) await page.screenshot({ path: path.join(given.shots, `${at}.png`) });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  found.faults.push(...(await page.evaluate(() => window.violations.splice(0))));
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

async function main() {
  const browser = await chromium.launch({ executablePath: given.chromium, args: OPTIONS });
  const context = await browser.newContext();
  const page = await context.newPage();
  await watch(page);
  const go = (place) => page.goto(`${given.url}${place}`);
  const heading = (name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor({ state: "attached" });
  const drawer = (name) => page.getByRole("complementary", { name, exact: true }).waitFor();
  const press = (name) => page.getByRole("button", { name, exact: true }).click();
  const done = (step) => found.steps.push(step);
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
  module.exports = { browser, context, page, go, heading, drawer, press, done, expectRefusal, signIn, look, load };
  for (const journey of [asUser, asAdmin]) await journey(module.exports);
  await browser.close();
  console.log(JSON.stringify(found));
}

async function asUser({ browser, context, page, go, heading, drawer, press, done, expectRefusal, signIn }) {
  await expectRefusal(async () => {
    await go("/console/orders?status=pending");
    await heading("Sign in to Gatehouse");
  });
  await signIn(given.user);
  await heading("Orders");
  if (!page.url().endsWith("/console/orders?status=pending")) throw new Error(`came back to ${page.url()}`);
  await page.getByText("No orders match").waitFor();
  await look(page, "orders-nothing-matches");
  await page.getByRole("link", { name: "Clear filters" }).click();
  await page.getByText("No orders yet").waitFor();
  await look(page, "orders-empty");
  done("came back after signing in");

  // By keyboard alone: a new order, which is refused first and keeps what was typed.
  await page.keyboard.press("n");
  await page.getByLabel("Product", { exact: true }).waitFor();
  await page.keyboard.type("Chair");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("none");
  await page.keyboard.press("Tab");
  await page.keyboard.type("249.50");
  await page.reload();
  await page.getByLabel("Quantity", { exact: true }).waitFor();
  await expectRefusal(async () => {
    await page.getByLabel("Quantity", { exact: true }).press("Enter");
    await page.locator("#field-quantity[aria-invalid=true]:focus").waitFor();
  });
  await look(page, "order-refused");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("2");
  await page.keyboard.press("Enter");
  await drawer("Chair");
  if ((await page.getByLabel("Product", { exact: true }).count()) !== 0) throw new Error("the form is still open");
  done("placed an order by keyboard");

  await page.keyboard.press("Escape");
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.goBack();
  await drawer("Chair");
  await look(page, "order-drawer");
  await press("Cancel order");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel order" }).click();
  await page.getByRole("complementary").getByText("Was pending").waitFor();
  await look(page, "order-cancelled");
  await page.getByRole("complementary").getByRole("button", { name: "Cancel order" }).waitFor({ state: "detached" });
  done("cancelled it");

  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await heading("Notifications");
  await page.getByRole("link", { name: "Your order was placed" }).first().waitFor();
  await look(page, "notifications");
  await page.getByRole("link", { name: "Your order was placed" }).first().click();
  await page.getByRole("complementary").getByText("Read", { exact: true }).waitFor();
  await look(page, "notification");
  await page.getByRole("complementary").getByRole("link", { name: "Show the order" }).click();
  await drawer("Chair");
  done("went from a notification to its order");

  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").waitFor();
  await look(page, "palette");
  await page.keyboard.type("dark");
  await page.keyboard.press("Enter");
  await page.locator("html[data-theme=dark]").waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await look(page, "keyboard");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("theme of the system");
  await page.keyboard.press("Enter");
  await page.locator("html[data-theme=system]").waitFor();
  done("used the palette");

  await go("/console/audit");
  await page.getByRole("link", { name: "Place order", exact: true }).first().waitFor();
  if (await page.getByRole("cell", { name: /^[0-9a-f]{8}…/ }).count()) throw new Error("a user sees records of others");
  done("saw their own records");
  await go("/console");
  await heading("Dashboard");
  await page.getByText("Your pending orders").waitFor();
  await look(page, "dashboard-user");
  await go("/console/nowhere");
  await heading("Nothing here");
  await look(page, "nothing-here");
  if (await page.getByRole("link", { name: "Users", exact: true }).count()) throw new Error("a user sees an entry for admins");

  // The session ends while a form is open: nothing typed is lost.
  await go("/console/orders?do=new");
  await page.getByLabel("Product", { exact: true }).fill("Lamp");
  await page.getByLabel("Total price", { exact: true }).fill("20");
  await context.clearCookies();
  await expectRefusal(async () => {
    await press("Place order");
    await page.getByRole("dialog").getByText("Your session has ended.").waitFor();
  });
  await look(page, "expired");
  await page.getByRole("dialog").getByRole("link", { name: "Sign in again" }).click();
  await signIn(given.user);
  await heading("Orders");
  if ((await page.getByLabel("Product", { exact: true }).inputValue()) !== "Lamp") throw new Error("the draft is lost");
  await press("Place order");
  await drawer("Lamp");
  done("kept the draft over an expired session");
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  if (/eyJ|token/i.test(stored)) throw new Error(`a token is stored: ${stored}`);

  await page.getByRole("button", { name: /account menu/ }).click();
  await look(page, "account-menu");
  await press("Sign out");
  await page.getByRole("heading", { level: 1, name: "Sign in to Gatehouse" }).waitFor();
  done("signed out");
}

async function asAdmin({ browser, context, page, go, heading, drawer, press, done, expectRefusal, signIn }) {
  await expectRefusal(async () => {
    await go("/console");
    await heading("Sign in to Gatehouse");
  });
  await signIn(given.admin);
  await heading("Dashboard");
  await page.getByText("Newest orders").waitFor();
  await page.getByRole("row", { name: /orders.*Responds/ }).waitFor();
  await look(page, "dashboard-admin");
  await load(browser, context, "/console", ".tile");
  await load(browser, context, "/console/orders", ".rowlink");

  await go("/console/orders");
  await page.locator(".rowlink").first().waitFor();
  await look(page, "orders");
  // All rows, by scrolling: the document holds only those in view.
  await page.locator("main").evaluate(async (main) => {
    while (document.querySelector("main footer button")) {
      main.scrollTop = main.scrollHeight;
      await new Promise((next) => setTimeout(next, 20));
    }
  });
  await page.getByText(`${given.orders} orders`, { exact: true }).waitFor();
  found.rows = await page.locator("tr[data-row]").count();
  found.elements = await page.evaluate(() => document.querySelectorAll("*").length);
  done("scrolled through all orders");

  await page.locator("main").evaluate((main) => { main.scrollTop = 0; });
  // Walking through the list in the drawer is one step of the history.
  await page.locator(".rowlink").nth(2).click();
  await page.getByRole("complementary").waitFor();
  for (const step of ["Next order", "Previous order"]) {
    const before = page.url();
    await page.getByRole("link", { name: step }).click();
    await page.waitForURL((url) => url.href !== before);
  }
  await page.keyboard.press("]");
  await page.goBack();
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.getByRole("link", { name: given.planted[0], exact: true }).first().click();
  await drawer(given.planted[0]);
  await press("Confirm order");
  await page.getByRole("complementary").getByRole("button", { name: "Ship order" }).waitFor();
  await look(page, "order-planted");
  // Somebody else ships it meanwhile.
  const id = new URL(page.url()).searchParams.get("open");
  await page.evaluate((order) => fetch(`/orders/${order}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: '{"status": "shipped"}' }), id);
  await expectRefusal(async () => {
    await press("Ship order");
    await page.getByText("Somebody changed the order meanwhile").waitFor();
  });
  await page.getByRole("complementary").getByRole("button", { name: "Mark as delivered" }).waitFor();
  await look(page, "order-stale");
  done("confirmed an order, and was told that it had changed");

  // A new order is announced and moves nothing.
  await go("/console/orders");
  await page.locator(".live:not(.polling)").waitFor();
  const first = await page.locator(".rowlink").first().innerText();
  await page.evaluate(() => fetch("/orders", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"product_name": "Just now", "quantity": 1, "total_price": 1}' }));
  await press("Show 1 new order");
  await page.getByRole("link", { name: "Just now", exact: true }).waitFor();
  done(`was told of a new order above ${first === "Just now" ? "nothing" : "the others"}`);

  await go("/console/audit");
  await page.getByLabel("Action", { exact: true }).fill("place order");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Remove Action Place order" }).waitFor();
  await look(page, "audit");
  await page.getByRole("link", { name: "Place order", exact: true }).first().click();
  await page.getByRole("complementary").getByRole("link", { name: "Records of this thing" }).click();
  await page.getByRole("link", { name: /^Remove Thing/ }).waitFor();
  await page.getByRole("link", { name: "Place order", exact: true }).click();
  await drawer("Place order");
  await look(page, "audit-record");
  done("followed a thing through the audit log");

  await go("/console/users");
  await page.getByLabel("Search accounts").fill(given.user[0]);
  await page.getByText("1 account", { exact: true }).waitFor();
  await look(page, "users");
  await page.locator(".rowlink").click();
  await page.getByRole("complementary").getByText("Not confirmed").waitFor();
  await look(page, "user");
  await press("Suspend");
  await expectRefusal(async () => {
    await press("Suspend account");
    await page.locator("#field-reason[aria-invalid=true]").waitFor();
  });
  await look(page, "user-reason");
  await page.getByLabel("Reason", { exact: true }).selectOption("requested");
  await page.getByLabel("Note", { exact: true }).fill("Asked for by the owner");
  await press("Suspend account");
  await press("Activate account");
  await page.getByLabel("Reason", { exact: true }).selectOption("requested");
  await page.getByLabel("Note", { exact: true }).fill("Asked for by the owner");
  await page.getByRole("dialog").getByRole("button", { name: "Activate account" }).click();
  await page.getByRole("complementary").getByRole("button", { name: "Suspend" }).waitFor();
  done("suspended an account and activated it again");

  // A service that is down: the page stands and says which one.
  const isOrders = (url) => url.pathname === "/orders";
  const problem = { code: "unavailable", request_id: "01a221d4-2f01-7537-8524-afb637df0236" };
  await page.route(isOrders, (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(problem) }));
  await expectRefusal(async () => {
    await go("/console/orders");
    await page.getByText("orders cannot respond now.").waitFor();
    await look(page, "orders-down");
    await go("/console");
    await page.getByText("orders cannot respond now.").waitFor();
    await page.getByText("Pending orders").waitFor();
    await look(page, "dashboard-orders-down");
    await page.unroute(isOrders);
    await press("Try again");
    await page.getByRole("link", { name: /Just now/ }).waitFor();
  });
  done("saw a service fail and come back");
}

main().catch(async (error) => {
  if (given.shots) await module.exports.page?.screenshot({ path: path.join(given.shots, "failed.png") }).catch(() => {});
  console.error(error, JSON.stringify(found));
  process.exit(1);
});

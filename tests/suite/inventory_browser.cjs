// A browser at a page of another origin that makes the requests of the inventory's first web interface.
// Usage: node inventory_browser.cjs, with a JSON object on standard input. It prints one JSON object.

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const KINDS = { ".html": "text/html", ".js": "text/javascript" };
const SYNC_MS = 120_000;
const found = { faults: [], requests: {}, missing: [], shown: {}, refused: {}, syncs: [], files: {} };

/** Serve the page; a port is an origin. */
function serve(port) {
  const server = http.createServer((request, response) => {
    const name = new URL(request.url, "http://localhost").pathname.slice(1) || "index.html";
    const file = path.join(given.folder, path.basename(name));
    if (!fs.existsSync(file)) return response.writeHead(404).end();
    response.setHeader("Content-Type", KINDS[path.extname(file)]);
    response.end(fs.readFileSync(file));
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done(server)));
}

/** Keep the status of each kind of request that the page makes; ids become {id}. */
function watch(page) {
  page.on("response", (response) => {
    const request = response.request();
    const { pathname } = new URL(response.url());
    if (!response.url().startsWith(given.gateway) || request.method() === "OPTIONS") return;
    const name = `${request.method()} ${pathname.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/, "{id}")}`;
    const statuses = (found.requests[name] ??= []);
    if (!statuses.includes(response.status())) statuses.push(response.status());
  });
  page.on("pageerror", (error) => found.faults.push(error.message));
  page.on("console", (message) => {
    // The browser also reports the statuses of refusals.
    if (message.type() === "error" && !message.text().includes("status of 4")) found.faults.push(message.text());
  });
}

class Visit {
  constructor(page) {
    this.page = page;
  }
  press(name, where = "body") {
    return this.page.locator(where).getByRole("button", { name, exact: true }).click();
  }
  /** Wait for words of the page, after an action that says something. */
  async said(act, pattern = /./) {
    await this.page.evaluate(() => { document.querySelector("#said").textContent = ""; });
    await act();
    await this.page.locator("#said").filter({ hasText: pattern }).waitFor();
    return this.page.locator("#said").innerText();
  }
  async open(button, name) {
    await this.press(button, "nav");
    await this.page.waitForSelector(`body[data-shown=${name}]`);
    await this.look();
  }
  /** Note the fields that a table should have shown, but the response lacked. */
  async look() {
    for (const id of await this.page.locator("table").evaluateAll((tables) => tables.map((one) => one.id))) {
      if (await this.page.locator(`#${id} td`, { hasText: /^MISSING$/ }).count()) found.missing.push(id);
    }
  }
  rows(id) {
    return this.page.locator(`#${id} tr`).evaluateAll((rows) => rows.slice(1).map((row) => [...row.querySelectorAll("td")].map((one) => one.innerText)));
  }
  total() {
    return this.page.locator("#total").innerText();
  }
  async filter(values) {
    for (const [name, value] of Object.entries(values)) await this.page.fill(`#filters [name=${name}]`, value);
    const answered = this.page.waitForResponse((response) => response.request().method() === "GET");
    await this.press("Filter");
    await answered;
    await this.page.waitForFunction((wanted) => wanted === "" || document.querySelector("#total").textContent !== wanted, "");
  }
  async save(button) {
    const waiting = this.page.waitForEvent("download");
    await this.press(button);
    const file = await waiting;
    const place = path.join(given.saved, file.suggestedFilename());
    await file.saveAs(place);
    return place;
  }
  /** Reload the start page until the newest syncs are as expected; the states of the newest are kept. */
  async dashboardUntil(isDone) {
    const limit = Date.now() + SYNC_MS;
    for (;;) {
      await this.open("Dashboard", "dashboard");
      const syncs = await this.rows("syncs");
      if (isDone(syncs)) return syncs;
      if (Date.now() > limit) throw new Error(`no end of the sync: ${JSON.stringify(syncs)}`);
    }
  }
}

async function signIn(visit) {
  const { page } = visit;
  await page.goto(given.page);
  await page.fill("[name=username]", "admin");
  await page.fill("[name=password]", "not it");
  found.refused.password = await visit.said(() => visit.press("Sign in"));
  await page.fill("[name=password]", given.password);
  await visit.press("Sign in");
  await page.waitForSelector("body[data-shown=dashboard]");
}

async function readLists(visit) {
  await visit.open("WorkSpaces", "workspaces");
  found.shown.every = await visit.total();
  found.shown.options = await visit.page.locator("#filters p").innerText();
  await visit.filter({ running_mode: "ALWAYS_ON" });
  await visit.page.getByText(given.alwaysOn, { exact: true }).waitFor();
  found.shown.filtered = (await visit.rows("workspaces")).map((row) => row[5]);
  for (const button of ["CSV", "Excel"]) found.files[button] = await visit.save(button);
  for (const [button, name] of [["Usage", "usage"], ["Costs", "billing"], ["Calls", "cloudtrail"]]) {
    await visit.open(button, name);
    found.shown[name] = await visit.total();
    found.files[name] = await visit.save(name === "cloudtrail" ? "Excel" : "CSV");
  }
}

async function sync(visit) {
  const before = await visit.dashboardUntil((syncs) => syncs.every((one) => one[1] !== "running"));
  found.shown.started = await visit.said(() => visit.press("Sync now"), /started/);
  const states = found.syncs;
  await visit.dashboardUntil((syncs) => {
    if (syncs.length > before.length && `${states.at(-1)}` !== `${syncs[0].slice(1, 3)}`) states.push(syncs[0].slice(1, 3));
    return syncs.length > before.length && syncs[0][1] !== "running";
  });
}

async function add(visit, values) {
  for (const [name, value] of Object.entries(values)) await visit.page.fill(`#add [name=${name}]`, value);
  return visit.said(() => visit.press("Add"));
}

/** Press a button of the row with this name. */
const inRow = (visit, name, button) => visit.said(
  () => visit.page.locator("main tr", { hasText: name }).getByRole("button", { name: button, exact: true }).click());

async function manageAccounts(visit) {
  await visit.open("Accounts", "accounts");
  found.shown.added = await add(visit, given.account);
  found.refused.name = await add(visit, given.account);
  found.refused.region = await add(visit, { ...given.account, name: "elsewhere", region: "eu-nowhere-9" });
  found.refused.key = await inRow(visit, given.account.name, "Test");
  await visit.press("Reload");
  await visit.page.locator("#accounts tr", { hasText: given.account.name }).getByText("error", { exact: true }).waitFor();
  found.shown.accounts = await visit.rows("accounts");
  found.shown.working = await inRow(visit, "Demo company", "Test");
  found.shown.accountSync = await inRow(visit, "Demo company", "Sync");
  found.shown.renamed = await inRow(visit, given.account.name, "Rename");
  found.shown.deleted = await inRow(visit, given.account.name, "Delete");
}

async function manageOthers(visit) {
  await visit.open("Directories", "servers");
  await add(visit, given.server);
  found.refused.server = await inRow(visit, given.server.name, "Test");
  for (const button of ["Sync", "Rename", "Delete"]) found.shown[`server${button}`] = await inRow(visit, given.server.name, button);
  await visit.open("Users", "users");
  await add(visit, given.user);
  found.shown.users = await visit.rows("users");
  found.refused.user = await add(visit, given.user);
  found.shown.userDeleted = await inRow(visit, given.user.username, "Delete");
  await visit.open("Settings", "settings");
  found.shown.settings = await visit.rows("settings");
  found.refused.settings = await visit.said(() => visit.press("Save"));
}

async function main() {
  const servers = [await serve(given.port), await serve(given.strangerPort)];
  const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox"] });
  const page = await (await browser.newContext({ acceptDownloads: true })).newPage();
  watch(page);
  const visit = new Visit(page);
  await signIn(visit);
  await visit.dashboardUntil((syncs) => syncs.length > 0 && syncs[0][1] !== "running");
  found.shown.figures = await page.locator("main > p").allInnerTexts();
  found.shown.recent = (await visit.rows("recent")).length;
  await readLists(visit);
  await sync(visit);
  await manageAccounts(visit);
  await manageOthers(visit);
  found.shown.admin = await page.locator("nav .admin:visible").count();
  await page.close();

  const stranger = await (await browser.newContext()).newPage();
  await stranger.goto(given.strangerPage);
  await stranger.fill("[name=username]", "admin");
  await stranger.fill("[name=password]", given.password);
  found.refused.origin = await new Visit(stranger).said(() => stranger.getByRole("button", { name: "Sign in" }).click());
  await browser.close();
  for (const server of servers) server.close();
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error, JSON.stringify(found));
  process.exit(1);
});

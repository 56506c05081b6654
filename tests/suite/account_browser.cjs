// A browser at the pages of auth: registers, adds an app and a passkey, consents, ends a session, signs out.
// Usage: node account_browser.cjs, with a JSON object on standard input. It prints one JSON object.

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { createHmac } = require("node:crypto");
const { chromium } = require("playwright-core");

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PHONE = { width: 390, height: 844 }, DESKTOP = { width: 1280, height: 800 };
const VIEWS = [["light", PHONE], ["dark", DESKTOP], ["dark", PHONE], ["light", DESKTOP]];
const found = { faults: [], violations: [], wide: [], steps: [] };
let looks = 0;

/** The code of an authenticator app (RFC 6238). */
function codeOf(secret) {
  const bits = [...secret].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac("sha1", key).update(counter).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** Check a page in two views that cover both themes and both widths; in a longer run, check all four. */
async function look(page, name) {
  looks += 1;
  const views = given.length > 1 || given.shots ? VIEWS : looks % 2 ? VIEWS.slice(0, 2) : VIEWS.slice(2);
  for (const [scheme, size] of views) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.setViewportSize(size);
    const at = `${name}-${scheme}-${size.width}`;
    const needed = await page.evaluate(() => document.documentElement.scrollWidth);
    if (needed > size.width) found.wide.push(`${at}: ${needed}`);
    await page.evaluate(axe); // not a script element, which the policy of the page refuses
    const result = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    for (const one of result.violations) {
      found.violations.push(`${at}: ${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
    }
    if (given.shots) await page.screenshot({ path: path.join(given.shots, `${at}.png`), fullPage: true });
  }
}

/** The app that the user comes back to. */
function startApp() {
  const server = http.createServer((request, response) => response.end("Back at the app"));
  return new Promise((done) => server.listen(given.appPort, "127.0.0.1", () => done(server)));
}

async function main() {
  const app = await startApp();
  const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox"] });
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("pageerror", (error) => found.faults.push(error.message));
  page.on("console", (message) => {
    // The browser also reports the statuses of refused forms.
    if (message.type() === "error" && !message.text().includes("status of 4")) found.faults.push(message.text());
  });
  const go = (place) => page.goto(`${given.url}${place}`);
  const press = (name) => page.getByRole("button", { name, exact: true }).click();
  const heading = (name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  const done = (step) => found.steps.push(step);
  const session = await context.newCDPSession(page);
  await session.send("WebAuthn.enable");
  await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true,
    },
  });

  await go("/auth/account");
  await heading("Sign in to Gatehouse");
  await look(page, "sign-in");
  await page.fill("#name", given.email);
  await page.fill("#password", "wrong");
  await press("Sign in");
  await page.getByRole("alert").first().waitFor();
  await look(page, "sign-in-refused");
  for (const [place, name] of [["registration", "registration"], ["forgot", "forgotten"], ["reset?token=x", "dead-link"]]) {
    await go(`/auth/${place}`);
    await look(page, name);
  }
  await go("/auth/account");
  await page.fill("#name", given.email);
  await page.fill("#password", given.password);
  await press("Sign in");
  await heading("Profile");
  done("signed in");

  await page.fill("#first_name", "Mara");
  await page.fill("#last_name", "Lindqvist");
  await press("Save names");
  await page.getByText("Your names are saved.").waitFor();
  await look(page, "profile");
  for (const [place, name] of [["apps", "apps-empty"], ["tokens", "tokens-empty"], ["email", "email"], ["password", "password"],
    ["security", "security"], ["passkeys", "passkeys-empty"], ["totp", "totp"], ["delete", "delete"], ["providers", "providers"]]) {
    await go(`/auth/account/${place}`);
    await look(page, name);
  }

  await go("/auth/account/totp");
  await page.fill("#current_password", given.password);
  await press("Set up app");
  const secret = await page.locator("code.secret").innerText();
  await look(page, "totp-confirm");
  await page.fill("#code", "000000");
  await press("Turn on");
  await page.getByRole("alert").waitFor();
  await look(page, "totp-refused");
  await page.fill("#code", codeOf(secret));
  await press("Turn on");
  await heading("Your recovery codes");
  const codes = await page.locator(".codes code").allInnerTexts();
  await look(page, "recovery-codes");
  done(`enrolled an app with ${codes.length} codes`);

  await go("/auth/account/passkeys");
  await page.fill("#name", "This laptop");
  await press("Continue");
  await heading("Add a passkey");
  await look(page, "passkey-make");
  await press("Create passkey");
  await page.getByText("Your passkey is added.").waitFor();
  await look(page, "passkeys");
  done("added a passkey");

  await go("/auth/account/tokens");
  await page.fill("#name", "nightly report");
  await page.getByRole("checkbox").first().check();
  await press("Create token");
  await page.locator("#token").waitFor();
  await look(page, "tokens-made");
  done("created a token");

  await go(given.authorize);
  await heading("Allow Ledgerline?");
  await look(page, "consent");
  await press("Allow");
  await page.getByText("Back at the app").waitFor();
  found.redirect = page.url();
  done("consented");
  await go("/auth/account/apps");
  await page.getByText("What it may do").click();
  await look(page, "apps");

  await go("/auth/account/sessions");
  await look(page, "sessions");
  const before = await page.getByRole("button", { name: /^End session/ }).count();
  await page.getByText("End session", { exact: true }).first().click();
  await page.getByText("That session has ended.").waitFor();
  const after = await page.getByRole("button", { name: /^End session/ }).count();
  done(`ended ${before - after} session`);

  await go(`/auth/step-up?next=/auth/account/tokens`);
  await look(page, "step-up");
  await press("Use a passkey");
  await heading("Personal access tokens");
  done("stepped up");
  await press("Sign out");
  await heading("Sign in to Gatehouse");
  await go("/auth/account");
  await page.fill("#name", given.email);
  await page.fill("#password", given.password);
  await press("Sign in");
  await heading("Enter the code");
  await look(page, "second-factor");
  await press("Use a passkey");
  await heading("Profile");
  done("signed in with password and passkey");
  await press("Sign out");
  await heading("Sign in to Gatehouse");
  await press("Sign in with a passkey");
  await heading("You are signed in");
  await look(page, "signed-in");
  done("signed in with a passkey");
  await go("/oauth/device");
  await look(page, "device");
  await go("/oauth/logout");
  await look(page, "sign-out");
  await press("Sign out");
  await heading("You are signed out");
  await look(page, "signed-out");
  await go("/auth/account");
  await heading("Sign in to Gatehouse");
  done("signed out");
  await browser.close();
  app.close();
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error, JSON.stringify(found));
  process.exit(1);
});

// Audit: people see their own records; an admin follows one thing through the log.

async function asUser({ given, page, done, enter }) {
  await enter("/console/audit", given.user);
  await page.getByRole("link", { name: "Place order", exact: true }).first().waitFor();
  if (await page.getByRole("cell", { name: /^[0-9a-f]{8}…/ }).count()) throw new Error("a user sees records of others");
  done("saw their own records");
}

async function asAdmin({ given, page, drawer, done, enter, look }) {
  await enter("/console/audit", given.admin);
  await page.getByLabel("Action", { exact: true }).fill("place order");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Remove Action Place order" }).waitFor();
  await look("audit");
  await page.getByRole("link", { name: "Place order", exact: true }).first().click();
  await page.getByRole("complementary").getByRole("link", { name: "Records of this thing" }).click();
  await page.getByRole("link", { name: /^Remove Thing/ }).waitFor();
  await page.getByRole("link", { name: "Place order", exact: true }).click();
  await drawer("Place order");
  await look("audit-record");
  done("followed a thing through the audit log");
  await proof({ page, drawer, done, look });
}

/** The browser computes the proof; what was changed on the way is red. */
async function proof({ page, drawer, done, look }) {
  const panel = page.getByRole("complementary"), steps = panel.getByRole("list", { name: "Steps of the proof" });
  const check = async (name, verdict) => {
    await panel.getByRole("button", { name }).click();
    await panel.getByText(verdict).waitFor();
  };
  const good = "This record is in the signed log, unchanged.", bad = "This record does not match the signed log.";
  await check("Check this record", good);
  await steps.getByText("for the first time").waitFor();
  await look("audit-proof");
  await check("Check again", good);
  await steps.getByText("The log continues the one that this browser saw before").waitFor();
  await twoTabs({ page, panel, good });

  /** Change one record in what a path returns. */
  const changed = async (path, change, work) => {
    const isMeant = (url) => url.pathname === path;
    await page.route(isMeant, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: change(await response.text()) });
    });
    await work();
    await page.unroute(isMeant);
  };
  // The database says now that the order was refused.
  const inExport = (text) => text.split("\n").map((line) => (line.includes('"type":"record"') ? line.replace('"status":201', '"status":403') : line)).join("\n");
  await changed("/audit/export", inExport, async () => {
    await check("Check again", bad);
    await steps.locator("li.bad", { hasText: "to another root than the signed one" }).waitFor();
    await look("audit-proof-changed");
  });
  // The list says so, and the log does not.
  await changed("/audit/logs", (text) => text.replaceAll('"status":201', '"status":403'), async () => {
    await page.reload();
    await drawer("Place order");
    await check("Check this record", bad);
    const wrong = await steps.locator("li.bad").count();
    if (wrong !== 1) throw new Error(`${wrong} steps are wrong`);
    await steps.locator("li.bad", { hasText: "The record in the list is not the one in the log" }).waitFor();
  });
  // Another key than the one that this browser has kept.
  await page.evaluate(() => localStorage.setItem("gatehouse.audit", JSON.stringify({ ...JSON.parse(localStorage.getItem("gatehouse.audit")), key: "other+00000000+AAAA" })));
  await page.reload();
  await drawer("Place order");
  await check("Check this record", bad);
  await steps.locator("li.bad", { hasText: "signed by a key other than the one that this browser has kept" }).waitFor();
  await check("Forget what this browser has kept", good);
  // A browser that does not know these signatures says so, and accuses nobody.
  await page.evaluate(() => { SubtleCrypto.prototype.generateKey = () => Promise.reject(new DOMException("", "NotSupportedError")); });
  await check("Check again", /^This browser cannot check signatures here/);
  done("saw a record proven, and changed ones in red");
}

/** A response that is older than what another tab has kept meanwhile is not the end of the log. */
async function twoTabs({ page, panel, good }) {
  let letGo, isHeld;
  const held = new Promise((resolve) => { isHeld = resolve; }), gone = new Promise((resolve) => { letGo = resolve; });
  const isExport = (url) => url.pathname === "/audit/export", kept = (tab) => tab.evaluate(() => JSON.parse(localStorage.getItem("gatehouse.audit")).size);
  await page.route(isExport, async (route) => {
    const response = await route.fetch();
    isHeld(Number(JSON.parse((await response.text()).split("\n")[0]).checkpoint.split("\n")[1]));
    await gone;
    await route.fulfill({ response });
  });
  await panel.getByRole("button", { name: "Check again" }).click();
  const size = await held, other = await page.context().newPage();
  await other.goto(page.url());
  await other.getByRole("button", { name: "Check this record" }).click();
  await other.getByText(good).waitFor();
  while ((await kept(other)) <= size) {
    await other.evaluate(() => fetch("/audit/logs?limit=1")); // an admin's reading is recorded
    await other.getByRole("button", { name: "Check again" }).click();
  }
  letGo();
  await panel.getByRole("button", { name: "Check again" }).waitFor(); // it says "Checking" until then
  await panel.getByText(good).waitFor();
  if ((await kept(page)) <= size) throw new Error("an older checkpoint replaced the one of the other tab");
  await other.close();
  await page.unroute(isExport);
}

module.exports = { asUser, asAdmin };

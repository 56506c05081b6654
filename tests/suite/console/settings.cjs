// Settings: an admin changes a known one and stores a sealed one; a user keeps settings of their own.

async function asAdmin({ given, page, press, done, expectRefusal, enter, look, drawer, down, go, heading }) {
  await enter("/console/settings", given.admin);
  await heading("Settings");
  await page.getByText("No settings are stored").waitFor();
  await look("settings");
  await page.getByRole("link", { name: /A notice for every page/ }).press("Enter");
  await drawer("site.notice");
  await page.getByLabel("Value", { exact: true }).fill(given.planted[0]);
  await look("setting");
  await press("Save");
  await page.getByText("site.notice is changed.").waitFor();
  await page.getByRole("complementary").getByText("Readable").waitFor();
  await page.getByRole("cell", { name: given.planted[0], exact: true }).waitFor();
  // Somebody else changes it meanwhile.
  await page.evaluate(() => fetch("/settings/system/site.notice", { method: "PUT", headers: { "Content-Type": "application/json" }, body: '{"value": "Moved", "type": "string"}' }));
  await page.getByLabel("Value", { exact: true }).fill("Mine");
  await expectRefusal(async () => {
    await press("Save");
    await page.getByRole("complementary").getByRole("alert").first().waitFor();
  });
  await page.getByRole("complementary").getByText("2", { exact: true }).waitFor();
  if ((await page.getByLabel("Value", { exact: true }).inputValue()) !== "Mine") throw new Error("what was typed is lost");
  await press("Save");
  await page.getByRole("complementary").getByText("3", { exact: true }).waitFor();
  done("changed a known setting, and was told that it had changed");

  // By keyboard: a value that does not fit is refused; a sealed one is never shown again, and in no storage.
  await page.keyboard.press("Escape");
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.keyboard.press("n");
  await page.getByLabel("Key", { exact: true }).waitFor();
  await page.keyboard.type("shop.secret");
  await page.getByLabel("Type", { exact: true }).selectOption("number");
  await page.getByLabel("Value", { exact: true }).fill(given.secret);
  await expectRefusal(async () => {
    await press("Add setting");
    await page.locator("#field-value[aria-invalid=true]:focus").waitFor();
  });
  await look("setting-refused");
  await page.getByLabel("Type", { exact: true }).selectOption("string");
  await page.getByLabel(/^Seal it/).check();
  await page.getByLabel("Value", { exact: true }).press("Control+Enter");
  await drawer("shop.secret");
  await page.getByRole("complementary").getByText("Sealed").first().waitFor();
  await look("setting-sealed");
  await page.getByLabel("Description", { exact: true }).fill("Signs the orders");
  await press("Save");
  await page.locator("#field-value[aria-invalid=true]:focus").waitFor();
  if (!(await page.evaluate(async () => (await (await fetch("/settings/system/shop.secret")).json()).version === 1))) throw new Error("the secret was replaced by nothing");
  await page.getByLabel("New value", { exact: true }).fill(`${given.secret} again`);
  await press("Save");
  await page.getByText("shop.secret is changed.").waitFor();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]) + document.body.innerHTML);
  if (kept.includes(given.secret)) throw new Error("the secret is kept in the browser");
  await press("Delete");
  await press("Delete setting");
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "shop.secret", exact: true }).waitFor({ state: "detached" });
  done("stored a sealed setting, and deleted it");

  await down("/settings/system", async () => {
    await go("/console/settings");
    await page.getByText("users cannot respond now.").waitFor();
    await look("settings-down");
  });
  await press("Try again");
  await page.getByRole("link", { name: "site.notice", exact: true }).waitFor();
  done("saw the service fail and come back");
}

async function asUser({ given, page, press, done, enter, look, drawer }) {
  await enter("/console/settings", given.user);
  await page.getByText("No settings of your own").waitFor();
  if (await page.getByText("Known settings").count()) throw new Error("a user sees the settings of the system");
  await look("settings-own-empty");
  await page.keyboard.press("n");
  await page.getByLabel("Key", { exact: true }).fill("tables.dense");
  await page.getByLabel("Type", { exact: true }).selectOption("boolean");
  await page.getByLabel("Value", { exact: true }).fill("true");
  await press("Add setting");
  await drawer("tables.dense");
  await page.getByLabel("Value", { exact: true }).selectOption("false");
  await press("Save");
  await page.getByRole("cell", { name: "false", exact: true }).waitFor();
  await look("settings-own");
  done("kept a setting of their own");
}

module.exports = { asAdmin, asUser };

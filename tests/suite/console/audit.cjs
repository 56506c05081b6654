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
}

module.exports = { asUser, asAdmin };

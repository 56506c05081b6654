// Products: added, changed and restocked by an admin, and ordered by somebody else.

async function asAdmin({ given, page, drawer, press, done, down, go, expectRefusal, enter, look }) {
  await enter("/console/products?q=nothing-has-this-name", given.admin);
  await page.getByText("No products match").waitFor();
  await look("products-nothing-matches");
  await page.getByRole("link", { name: "Clear filters" }).click();
  await page.waitForURL(/products$/);
  await page.locator("body").press("n");
  await page.getByLabel("Name", { exact: true }).waitFor();
  await page.keyboard.type(given.planted[1]);
  await page.keyboard.press("Tab");
  await page.keyboard.type(given.sku);
  await page.keyboard.press("Tab");
  await page.keyboard.type("cheap");
  await expectRefusal(async () => {
    await page.keyboard.press("Enter");
    await page.locator("#field-price[aria-invalid=true]:focus").waitFor();
  });
  await look("product-refused");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("12.50");
  await page.getByLabel("Low at", { exact: true }).fill("5");
  await page.getByLabel("Low at", { exact: true }).press("Enter");
  await drawer(given.planted[1]);
  done("added a product by keyboard");

  await press("Change the stock");
  await page.getByLabel("Pieces", { exact: true }).fill("7");
  await press("Record");
  await page.getByRole("complementary").getByRole("cell", { name: "7" }).first().waitFor();
  await look("product");
  // Somebody else changes it meanwhile.
  const id = new URL(page.url()).searchParams.get("open");
  await press("Change");
  await page.getByLabel("Price", { exact: true }).fill("13");
  await page.evaluate((product) => fetch(`/products/${product}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: '{"low_at": 9}' }), id);
  await expectRefusal(async () => {
    await press("Save changes");
    await page.getByRole("dialog").getByRole("alert").waitFor();
  });
  if ((await page.getByLabel("Price", { exact: true }).inputValue()) !== "13") throw new Error("what was typed is lost");
  await look("product-stale");
  await page.reload();
  await press("Change");
  if ((await page.getByLabel("Price", { exact: true }).inputValue()) !== "13") throw new Error("the draft is lost");
  if ((await page.getByLabel("Low at", { exact: true }).inputValue()) !== "9") throw new Error("the draft hides what somebody else has changed");
  await press("Save changes");
  await page.getByRole("complementary").getByText("USD 13.00").waitFor();
  done("changed it after somebody else had");

  await page.getByRole("link", { name: "Low stock" }).click();
  await page.getByRole("link", { name: "Remove Stock low" }).waitFor();
  await page.getByRole("link", { name: given.planted[1], exact: true }).first().waitFor();
  await look("products");
  await down("/products", async () => {
    await go("/console/products");
    await page.getByText("orders cannot respond now.").waitFor();
    await look("products-down");
  });
  await press("Try again");
  await page.locator(".rowlink").first().waitFor();
  done("saw what is low, and the service fail and come back");
}

async function asUser({ given, page, drawer, press, done, go, enter }) {
  await enter(`/console/products?q=${given.sku}`, given.user);
  await page.getByRole("link", { name: given.planted[1], exact: true }).first().click();
  await drawer(given.planted[1]);
  if (await page.getByRole("button", { name: /Change/ }).count()) throw new Error("a user sees what only admins may do");
  await press("Order");
  await page.getByLabel("Pieces", { exact: true }).fill("2");
  await page.getByLabel("Pieces", { exact: true }).press("Enter");
  await page.getByRole("complementary").getByText("USD 26.00").waitFor();
  done("ordered it");
}

module.exports = { asAdmin, asUser };

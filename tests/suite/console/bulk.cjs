// One action on many rows: orders, products, tickets and accounts, with a refusal in between.

async function asAdmin({ given, page, go, heading, press, done, expectRefusal, enter, look, down }) {
  const bar = page.getByRole("region", { name: "Chosen rows" }), dialog = page.getByRole("dialog");
  const sure = (word) => dialog.getByRole("button", { name: word, exact: true }).click();
  const choose = async (place, title, rows) => {
    await go(place);
    await heading(title);
    await page.locator(".rowlink").nth(rows - 1).waitFor();
    await page.getByRole("link", { name: "Choose rows" }).click();
    await bar.getByText(/is chosen$/).waitFor();
  };
  /** Send a request as the signed-in admin, past the console. */
  const send = (method, path, body) => page.evaluate(async ([method, path, body]) => {
    const response = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(await response.text());
  }, [method, path, body]);

  await enter(`/console/orders?user=${given.person}`, given.admin);
  await choose(`/console/orders?user=${given.person}`, "Orders", 4);
  // By keyboard alone: one row, then all up to another one, then all.
  await page.getByLabel("Choose Bulk 0", { exact: true }).press("Space");
  await bar.getByText("1 order chosen", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Bulk 2", exact: true }).focus();
  await page.keyboard.press("X");
  await bar.getByText("3 orders chosen", { exact: true }).waitFor();
  await bar.getByRole("button", { name: "Choose all 4 loaded" }).press("Enter");
  await bar.getByText("4 orders chosen", { exact: true }).waitFor();
  // By pointer: one row, and with Shift all up to another one. On a phone the whole row is the checkbox.
  await page.getByLabel("Choose Bulk 1", { exact: true }).click();
  await bar.getByText("3 orders chosen", { exact: true }).waitFor();
  await page.getByLabel("Choose Bulk 3", { exact: true }).click({ modifiers: ["Shift"] });
  await bar.getByText("1 order chosen", { exact: true }).waitFor();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.getByRole("row", { name: /Bulk 2/ }).click({ position: { x: 200, y: 40 } });
  await bar.getByText("2 orders chosen", { exact: true }).waitFor();
  await page.setViewportSize({ width: 1280, height: 800 });
  await bar.getByRole("button", { name: "Choose all 4 loaded" }).click();
  await bar.getByText("4 orders chosen", { exact: true }).waitFor();
  await look("bulk-chosen");
  // One was confirmed meanwhile, so its version is another.
  await send("PUT", `/orders/${given.orders[1]}`, { status: "confirmed" });
  await bar.getByRole("button", { name: "Cancel orders" }).click();
  await look("bulk-sure");
  await expectRefusal(async () => {
    await sure("Cancel orders");
    await bar.getByText("1 order could not be changed").waitFor();
  });
  await bar.getByText("Bulk 1: it was changed meanwhile").waitFor();
  await bar.getByText("1 order chosen", { exact: true }).waitFor();
  await look("bulk-failed");
  await bar.getByRole("button", { name: "Reload the list" }).click();
  await page.getByRole("row", { name: /Bulk 1.*Confirmed/ }).waitFor();
  await bar.getByRole("button", { name: "Ship orders" }).click();
  await sure("Ship orders");
  await page.getByText("1 order shipped.").waitFor();
  done("cancelled orders, and was told which one had changed");

  // A service that does not respond: the rest is not tried.
  await choose(`/console/products?q=${given.mark}`, "Products", 3);
  await bar.getByRole("button", { name: "Choose all 3 loaded" }).click();
  await bar.getByRole("button", { name: "Archive products" }).click();
  await down(`/products/${given.products[2]}`, async () => {
    await sure("Archive products");
    await bar.getByText("orders cannot respond now.").waitFor();
  });
  await bar.getByText("3 products chosen", { exact: true }).waitFor();
  await bar.getByRole("button", { name: "Archive products" }).click();
  await sure("Archive products");
  await page.getByText("3 products archived.").waitFor();
  done("archived products");

  await choose(`/console/tickets?q=${given.mark}`, "Tickets", 2);
  await bar.getByRole("button", { name: "Choose all 2 loaded" }).click();
  await bar.getByRole("button", { name: "Assign to me" }).click();
  await sure("Assign to me");
  await page.getByText("2 tickets assigned to you.").waitFor();
  await bar.getByRole("button", { name: "Choose all 2 loaded" }).click();
  await bar.getByRole("button", { name: "Resolve tickets" }).click();
  await sure("Resolve tickets");
  await page.getByText("2 tickets resolved.").waitFor();
  done("assigned and resolved tickets");

  await choose(`/console/users?q=${given.email}`, "Users", 1);
  await bar.getByRole("button", { name: "Choose all 1 loaded" }).click();
  await bar.getByRole("button", { name: "Suspend accounts" }).click();
  await sure("Suspend accounts");
  await page.getByText("1 account suspended.").waitFor();
  await page.getByRole("row", { name: /Suspended/ }).waitFor();
  done("suspended an account");
}

module.exports = { asAdmin };

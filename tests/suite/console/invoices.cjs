// Invoices: issued from an order, downloaded, and credited.

async function asUser({ given, page, press, drawer, done, enter, look }) {
  await enter("/console/invoices", given.user);
  await page.getByText("No invoices yet").waitFor();
  await look("invoices-empty");
  await page.getByRole("link", { name: "Show confirmed orders" }).click();
  await page.getByRole("link", { name: given.planted[0], exact: true }).click();
  await drawer(given.planted[0]);
  await press("Issue invoice");
  await page.waitForURL(/console\/invoices\?open=/);
  await page.getByRole("complementary").getByText(`1 × ${given.planted[0]}`).waitFor();
  await look("invoice");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download PDF" }).click()]);
  if (!/^INV-.*\.pdf$/.test(download.suggestedFilename())) throw new Error(`the file is named ${download.suggestedFilename()}`);
  await download.path();
  done("issued an invoice and downloaded it");

  // By keyboard: back to the order, which is cancelled, and then credited.
  await page.getByRole("complementary").getByRole("link", { name: "Show the order" }).press("Enter");
  await page.getByRole("button", { name: "Cancel order", exact: true }).press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel order" }).press("Enter");
  await page.getByRole("button", { name: "Issue credit note" }).press("Enter");
  await page.waitForURL(/console\/invoices\?open=/);
  await page.getByRole("complementary").getByText("Corrects").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("row").nth(2).waitFor();
  await look("invoices");
  done("cancelled the order, and got a credit note");
}

async function asAdmin({ given, page, press, done, down, go, enter, look }) {
  await enter(`/console/invoices?user=${given.id}`, given.admin);
  await page.getByText("2 documents", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Kind" }).click();
  await page.getByRole("link", { name: "Credit note", exact: true }).click();
  await page.getByText("1 document", { exact: true }).waitFor();
  await down("/invoices", async () => {
    await go("/console/invoices");
    await page.getByText("orders cannot respond now.").waitFor();
    await look("invoices-down");
  });
  await press("Try again");
  await page.locator(".rowlink").first().waitFor();
  done("found the credit note, and saw the service fail and come back");
}

module.exports = { asUser, asAdmin };

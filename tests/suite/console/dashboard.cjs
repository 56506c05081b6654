// The dashboard, for each role, and while a service is down.

async function asUser({ given, page, enter, look, heading }) {
  await enter("/console", given.user);
  await heading("Dashboard");
  await page.getByText("Your pending orders").waitFor();
  await look("dashboard-user");
}

async function asAdmin({ given, page, go, heading, press, done, enter, look, load, down }) {
  await enter("/console", given.admin);
  await heading("Dashboard");
  await page.getByText("Newest orders").waitFor();
  await page.getByRole("row", { name: /orders.*Responds/ }).waitFor();
  await look("dashboard-admin");
  await load("/console", ".tile");
  await load("/console/orders", ".rowlink");

  // A service that is down: the page stands and says which one.
  await down("/orders", async () => {
    await go("/console");
    await page.getByText("orders cannot respond now.").waitFor();
    await page.locator(".tile").first().waitFor();
    await look("dashboard-orders-down");
  });
  await press("Try again");
  await page.locator('.rows a[href*="/console/orders?open="]').first().waitFor();
  done("saw a service fail and come back");
}

module.exports = { asUser, asAdmin };

// Orders: placed and cancelled by their owner, by keyboard and by pointer; taken further by an admin.

async function asUser({ given, context, page, go, heading, drawer, press, done, expectRefusal, signIn, enter, look }) {
  await enter("/console/orders?status=pending", given.user);
  await heading("Orders");
  if (!page.url().endsWith("/console/orders?status=pending")) throw new Error(`came back to ${page.url()}`);
  await page.getByText("No orders match").waitFor();
  await look("orders-nothing-matches");
  await page.getByRole("link", { name: "Clear filters" }).click();
  await page.getByText("No orders yet").waitFor();
  await look("orders-empty");
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
  await look("order-refused");
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
  await look("order-drawer");
  await press("Cancel order");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel order" }).click();
  await page.getByRole("complementary").getByText("Was pending").waitFor();
  await look("order-cancelled");
  await page.getByRole("complementary").getByRole("button", { name: "Cancel order" }).waitFor({ state: "detached" });
  done("cancelled it");


  // The session ends while a form is open: nothing typed is lost.
  await go("/console/orders?do=new");
  await page.getByLabel("Product", { exact: true }).fill("Lamp");
  await page.getByLabel("Total price", { exact: true }).fill("20");
  await context.clearCookies();
  await expectRefusal(async () => {
    await press("Place order");
    await page.getByRole("dialog").getByText("Your session has ended.").waitFor();
  });
  await look("expired");
  await page.getByRole("dialog").getByRole("link", { name: "Sign in again" }).click();
  await signIn(given.user);
  await heading("Orders");
  if ((await page.getByLabel("Product", { exact: true }).inputValue()) !== "Lamp") throw new Error("the draft is lost");
  await press("Place order");
  await drawer("Lamp");
  done("kept the draft over an expired session");
}

async function asAdmin({ given, found, page, go, drawer, press, done, expectRefusal, enter, look, load, down }) {
  await enter("/console/orders", given.admin);
  await page.locator(".rowlink").first().waitFor();
  await look("orders");
  await go(`/console/orders?user=${given.other}`);
  await page.locator(".rowlink").first().waitFor();
  // All rows, by scrolling: the document holds only those in view.
  await page.locator("main").evaluate(async (main) => {
    while (document.querySelector("main footer button")) {
      main.scrollTop = main.scrollHeight;
      await new Promise((next) => setTimeout(next, 20));
    }
  });
  await page.getByText(`${given.orders} orders`, { exact: true }).waitFor();
  done("scrolled through all orders");
  await scrollThroughMany({ given, found, page, go, done });

  await go(`/console/orders?user=${given.other}`);
  await page.locator(".rowlink").first().waitFor();
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
  // It is confirmed before the answer to the first question about it arrives, which is out of date then.
  const link = page.getByRole("link", { name: given.planted[0], exact: true }).first();
  const id = new URL(await link.evaluate((one) => one.href)).searchParams.get("open");
  const former = await page.evaluate(async (order) => (await fetch(`/orders/${order}`)).text(), id);
  const isOrder = (url) => url.pathname === `/orders/${id}`, isChange = (one) => one.method() === "PUT";
  const changed = page.waitForResponse((one) => isOrder(new URL(one.url())) && isChange(one.request()));
  const late = page.waitForResponse((one) => isOrder(new URL(one.url())) && !isChange(one.request()));
  await page.route(isOrder, async (route) => {
    if (isChange(route.request())) return route.fallback();
    await (await changed).finished();
    return route.fulfill({ contentType: "application/json", body: former });
  });
  await link.click();
  await drawer(given.planted[0]);
  await press("Confirm order");
  await (await late).finished();
  await page.unroute(isOrder);
  await page.getByRole("complementary").getByRole("button", { name: "Ship order" }).waitFor();
  await look("order-planted");
  // Somebody else ships it meanwhile.
  await page.evaluate((order) => fetch(`/orders/${order}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: '{"status": "shipped"}' }), id);
  await expectRefusal(async () => {
    await press("Ship order");
    await page.getByText("Somebody changed the order meanwhile").waitFor();
  });
  await page.getByRole("complementary").getByRole("button", { name: "Mark as delivered" }).waitFor();
  await look("order-stale");
  done("confirmed an order, and was told that it had changed");

  // A new order is announced and moves nothing.
  await go("/console/orders");
  await page.locator(".live:not(.polling)").waitFor();
  const first = await page.locator(".rowlink").first().innerText();
  await page.evaluate(() => fetch("/orders", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"product_name": "Just now", "quantity": 1, "total_price": 1}' }));
  await press("Show 1 new order");
  await page.getByRole("link", { name: "Just now", exact: true }).waitFor();
  done(`was told of a new order above ${first === "Just now" ? "nothing" : "the others"}`);

  // News about something else: a list that has not changed is not sent again.
  const same = page.waitForResponse((one) => new URL(one.url()).pathname === "/orders" && one.status() === 304);
  await page.evaluate(async () => {
    const me = await (await fetch("/users/me")).json();
    const message = JSON.stringify({ user_id: me.id, title: "Hello", content: "again" });
    await fetch("/notifications", { method: "POST", headers: { "Content-Type": "application/json" }, body: message });
  });
  await same;
  done("asked again for a list that had not changed");

  // A service that is down: the page stands and says which one.
  await down("/orders", async () => {
    await go("/console/orders");
    await page.getByText("orders cannot respond now.").waitFor();
    await look("orders-down");
  });
  await press("Try again");
  await page.getByRole("link", { name: "Just now", exact: true }).waitFor();
  done("saw the service fail and come back");
}

/** So many orders that a page of its own serves them: the document stays small, and the rows in view are always there. */
async function scrollThroughMany({ given, found, page, go, done }) {
  const states = ["pending", "confirmed", "shipped", "delivered", "returned", "cancelled"], created = new Date().toISOString();
  const order = (number) => ({ id: `many-${number}`, user_id: given.other, product_name: `Order ${number}`, quantity: 1, total_price: 10, currency: "USD", status: states[number % 6], created, version: 1 });
  const isOrders = (url) => url.pathname === "/orders";
  await page.route(isOrders, (route) => {
    const from = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0), to = Math.min(from + given.portion, given.many);
    const link = to < given.many ? { link: `</orders?cursor=${to}>; rel="next"` } : {};
    const rows = Array.from({ length: to - from }, (_, n) => order(from + n));
    return route.fulfill({ contentType: "application/json", headers: link, body: JSON.stringify(rows) });
  });
  await go("/console/orders");
  await page.getByRole("link", { name: "Order 0", exact: true }).waitFor();
  Object.assign(found, await page.locator("main").evaluate(async (main, many) => {
    const seen = { elements: 0, rows: 0, blank: 0 }, painted = () => new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
    const count = () => {
      const { left, top, width, height } = main.getBoundingClientRect();
      seen.elements = Math.max(seen.elements, document.querySelectorAll("*").length);
      seen.rows = Math.max(seen.rows, document.querySelectorAll("tr[data-row]").length);
      if (!document.elementFromPoint(left + width / 2, top + height / 2)?.closest("tr[data-row]")) seen.blank += 1;
    };
    for (let at = 0; at < many; ) {
      main.scrollTop = main.scrollHeight;
      await painted();
      at = Number(/^\d+/.exec(document.querySelector("main footer").textContent)[0]);
    }
    for (let step = 0; step < 60; step += 1) {
      main.scrollTop = ((main.scrollHeight - main.clientHeight) * step) / 59;
      await painted();
      count();
    }
    return seen;
  }, given.many));
  await page.getByRole("link", { name: `Order ${given.many - 1}`, exact: true }).waitFor();
  await page.unroute(isOrders);
  done(`scrolled through ${given.many} orders`);
}

module.exports = { asUser, asAdmin };

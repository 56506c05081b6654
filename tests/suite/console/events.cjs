// Events: an admin reads why some could not be applied, replays two of them and drops the others.

async function asAdmin({ given, page, keys, press, done, enter, look, drawer, down, go, heading }) {
  await enter("/console", given.admin);
  await heading("Dashboard");
  await keys("ge");
  await heading("Events");
  await page.getByRole("row", { name: /support.*Needs a decision/ }).waitFor();
  await page.getByRole("row", { name: /users.*All arrives/ }).waitFor();
  await look("events");
  await down("/events/orders", async () => {
    await page.keyboard.press("r");
    await page.getByText("orders does not respond.").waitFor();
    await look("events-down");
    await page.getByRole("row", { name: /support.*Needs a decision/ }).waitFor();
  });
  await press("Try again");
  await page.getByText("orders does not respond.").waitFor({ state: "detached" });
  // A suite whose routes are older than its console: the service is not blamed.
  await down("/events/orders", async () => {
    await page.keyboard.press("r");
    await page.getByText("routes.yaml may lack the route for /events/orders.").waitFor();
    await page.getByRole("row", { name: /orders.*Refused/ }).waitFor();
    if (await page.getByText("does not respond", { exact: false }).count()) throw new Error("a refusal is called no response");
    await look("events-refused");
  }, 404);
  await page.keyboard.press("r");
  await page.getByRole("row", { name: /orders.*All arrives/ }).waitFor();
  done("saw which service has dead events, and which is down");

  await page.getByRole("link", { name: "support", exact: true }).press("Enter");
  await heading("Events of support");
  await page.getByRole("link", { name: "Dead 4" }).waitFor();
  await look("events-dead");
  await seeUnsent({ given, page, heading, look });
  await page.getByRole("link", { name: "account.deleted", exact: true }).first().press("Enter");
  await drawer("account.deleted");
  await page.getByRole("complementary").getByText(given.planted[0]).first().waitFor();
  await page.getByRole("region", { name: "Content" }).getByText(given.accounts[3]).waitFor();
  await look("event");
  await page.getByRole("complementary").getByRole("button", { name: "Drop event" }).click();
  await page.getByRole("dialog", { name: "Drop 1 event?" }).waitFor();
  await look("event-drop");
  await press("Keep");
  await page.getByRole("complementary").getByRole("button", { name: "Replay event" }).click();
  await page.getByRole("dialog", { name: "Replay 1 event?" }).getByRole("button", { name: "Replay event" }).click();
  await page.getByText("1 event will be applied again.").waitFor();
  await page.getByRole("complementary").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Dead 3" }).waitFor();
  done("read an event, and replayed it");

  // By keyboard: the newest two at once, of which somebody else drops one meanwhile.
  const bar = page.getByRole("region", { name: "Chosen rows" });
  await page.locator(".rowlink").nth(0).focus();
  await page.keyboard.press("x");
  await bar.getByText("1 event chosen").waitFor();
  await page.getByRole("checkbox", { name: /^Choose account/ }).nth(1).focus();
  await page.keyboard.press("x");
  await bar.getByText("2 events chosen").waitFor();
  await look("events-selected");
  await page.evaluate((id) => fetch("/events/support/drop", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ids: [id] }) }), given.ids[2]);
  await press("Replay events");
  await page.getByRole("dialog").getByRole("button", { name: "Replay event" }).click();
  await page.getByText("1 event will be applied again. 1 event had been handled already.").waitFor();
  await press("Choose all 1 loaded");
  await press("Drop events");
  await page.getByRole("dialog").getByRole("button", { name: "Drop event" }).click();
  await page.getByText("No dead events").waitFor();
  await look("events-none");
  done("replayed and dropped a selection");

  await page.getByRole("link", { name: /^Retried/ }).click();
  await page.getByRole("link", { name: "account.deleted", exact: true }).first().click();
  await drawer("account.deleted");
  await page.getByRole("complementary").getByText("Next attempt").waitFor();
  if (await page.getByRole("complementary").getByRole("button", { name: "Drop event" }).count()) throw new Error("it can be dropped while it is retried");
  await look("event-retried");
  await down("/events/support/undelivered", async () => {
    await go("/console/events?service=support");
    await page.getByText("support cannot respond now.").waitFor();
    await look("events-list-down");
  });
  await press("Try again");
  await page.getByText("No dead events").waitFor();
  done("saw it fail and come back");
}

/** A receiver that is down, as far as the page knows: its events wait one by one. */
async function seeUnsent({ given, page, heading, look }) {
  const created = new Date(Date.now() - 60_000).toISOString(), last_error = given.planted[0], at = (path) => (url) => url.pathname === path;
  await page.route(at("/events/support"), async (route) => {
    const response = await route.fetch(), summary = await response.json();
    return route.fulfill({ response, json: { ...summary, waiting: [{ subscriber: "audit", number: 1, oldest: created, attempts: 4, last_error }] } });
  });
  await page.route(at("/events/support/unsent"), (route) => route.fulfill({ json: [{ id: "1", topic: "ticket.opened", key: "ticket 1", created, attempts: 4, last_error }] }));
  await page.reload();
  await page.getByRole("link", { name: /^1 event for audit/ }).press("Enter");
  await heading("Events for audit");
  await page.getByRole("row", { name: /ticket.opened/ }).getByText(given.planted[0]).waitFor();
  await look("events-unsent");
  await page.unrouteAll();
  await page.goBack();
  await heading("Events of support");
  await page.getByRole("link", { name: "Dead 4" }).waitFor();
}

/** A user has no such screen. */
async function asUser({ given, page, enter, done }) {
  await enter("/console/events", given.user);
  await page.getByText("There is no page at this address").waitFor();
  done("is not there for users");
}

module.exports = { asAdmin, asUser };

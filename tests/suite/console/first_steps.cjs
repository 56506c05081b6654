// The first visit of an admin: what a new suite lacks, ticked as it is done, and put away.

async function asAdmin({ given, page, go, heading, press, done, enter, look, load }) {
  await enter("/console", given.admin);
  await page.getByText("This suite is new.").waitFor();
  await look("dashboard-new");
  await load("/console", ".tile");
  await page.getByRole("link", { name: "Show first steps" }).click();
  await heading("First steps");
  await page.getByText("0 of 6 done.").waitFor();
  await page.getByText("gatehouse demo", { exact: true }).waitFor();
  await look("first-steps");
  await load("/console/start", ".rows > a");

  await page.getByRole("link", { name: /^To do: Place an order/ }).click();
  await heading("Orders");
  await page.getByLabel("Product", { exact: true }).fill("First");
  await page.getByLabel("Total price", { exact: true }).fill("12");
  await press("Place order");
  await page.getByRole("complementary").waitFor();
  await go("/console/start");
  await page.getByRole("link", { name: /^Done: Place an order/ }).waitFor();
  await page.getByText("1 of 6 done.").waitFor();
  await page.getByRole("link", { name: /^To do: Let a second person in/ }).waitFor();
  done("placed the first order");

  // The step stays done when the shell has ended.
  await page.evaluate(async () => {
    const made = await fetch("/terminal/sessions", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"tab": "1"}' });
    if (!made.ok) throw new Error(await made.text());
    const { id } = await made.json(), ended = await fetch(`/terminal/sessions/${id}`, { method: "DELETE" });
    if (!ended.ok) throw new Error(await ended.text());
  });
  // The numbers of the summary are kept for 10 seconds.
  const isDone = page.getByRole("link", { name: /^Done: Start a shell/ }), end = Date.now() + 60_000 * given.length;
  while (!(await isDone.count())) {
    if (Date.now() > end) throw new Error("the first shell is not ticked");
    await go("/console/start");
    await page.getByText(/ of 6 done/).waitFor();
  }
  done("started the first shell, and ended it");

  await go("/console");
  await press("Put away");
  await page.getByText("This suite is new.").waitFor({ state: "detached" });
  await page.reload();
  await page.locator(".tile").first().waitFor();
  if (await page.getByText("This suite is new.").count()) throw new Error("the hint is back");
  done("put the hint away");
}

module.exports = { asAdmin };

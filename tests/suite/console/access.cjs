// Tokens and apps: a person creates a token, which works, and revokes it; an app is disconnected.

async function asUser({ given, page, press, done, expectRefusal, enter, look, down, go }) {
  await enter("/console/access", given.user);
  await page.getByText("No tokens").waitFor();
  await page.getByRole("button", { name: "Disconnect Ledgerline" }).waitFor();
  await look("access");

  // By keyboard: a token without scopes is refused, and keeps what was typed.
  await page.keyboard.press("n");
  await page.getByLabel("Name", { exact: true }).waitFor();
  await page.keyboard.type(given.planted[0]);
  await expectRefusal(async () => {
    await page.keyboard.press("Enter");
    await page.getByRole("group", { name: "Scopes", description: /^Scopes must have at least 1/ }).waitFor();
    await page.locator("fieldset:focus").waitFor();
  });
  if (await page.getByLabel("As an admin: clients").count()) throw new Error("a user is offered scopes of admins");
  await look("token-refused");
  await page.getByLabel("Orders: read", { exact: true }).check();
  // The token is created, and the response is lost.
  const isTokens = (url) => url.pathname === "/auth/me/tokens";
  await page.route(isTokens, async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    await route.fetch();
    return route.abort();
  });
  await expectRefusal(async () => {
    await page.getByLabel("Name", { exact: true }).press("Enter");
    await page.getByText("The token may have been created.").waitFor();
  });
  await page.unroute(isTokens);
  await look("token-unsure");
  await page.getByLabel("Name", { exact: true }).press("Enter");
  const shown = page.getByRole("region", { name: "Token", exact: true });
  await shown.waitFor();
  done("sent it again after a lost response");

  const token = await shown.innerText();
  await look("token");
  let statuses = [];
  await expectRefusal(async () => {
    statuses = await page.evaluate((sent) => Promise.all(["/orders", "/files/usage"].map(async (path) => (await fetch(path, { headers: { Authorization: `Bearer ${sent}` }, credentials: "omit" })).status)), token);
  });
  if (statuses.join() !== "200,403") throw new Error(`the token gives ${statuses}`);
  await press("I have stored it");
  if ((await page.content()).includes(token)) throw new Error("the token is still in the page");
  await page.getByText("1 token", { exact: true }).waitFor();
  await look("access-token");
  done("created a token, which may do what it should");

  await page.getByRole("button", { name: `Revoke ${given.planted[0]}` }).click();
  await press("Revoke token");
  await page.getByText("No tokens").waitFor();
  await page.getByRole("button", { name: "Disconnect Ledgerline" }).click();
  await look("app-disconnect");
  await press("Disconnect app");
  await page.getByText("No connected apps").waitFor();
  done("revoked it, and disconnected an app");

  await down("/auth/me/apps", async () => {
    await go("/console/access");
    await page.getByText("auth cannot respond now.").waitFor();
    await page.getByText("No tokens").waitFor();
    await look("access-down");
  });
  await press("Try again");
  await page.getByText("No connected apps").waitFor();
  done("saw it fail and come back");
}

module.exports = { asUser };

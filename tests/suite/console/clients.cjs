// Clients: an admin registers a program, changes its secret, disables and deletes it.

async function asAdmin({ given, page, press, done, expectRefusal, enter, look, drawer, down, go }) {
  await enter("/console/clients", given.admin);
  await page.getByText("No clients yet").waitFor();
  await look("clients-empty");

  // By keyboard: a web app without a redirect URI is refused, and keeps what was typed.
  await page.keyboard.press("n");
  await page.getByLabel("Name", { exact: true }).waitFor();
  await page.keyboard.type(given.planted);
  await page.getByLabel("Scopes", { exact: true }).fill("orders:nothing");
  await page.getByLabel("What it is", { exact: true }).selectOption("program");
  await expectRefusal(async () => {
    await page.getByLabel("Scopes", { exact: true }).press("Enter");
    await page.locator("#field-scopes[aria-invalid=true]:focus").waitFor();
  });
  await look("client-refused");
  await page.getByLabel("Scopes", { exact: true }).fill("orders:read audit:read");
  // The client is registered, and the response is lost.
  const isClients = (url) => url.pathname === "/clients";
  await page.route(isClients, async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    await route.fetch();
    return route.abort();
  });
  await expectRefusal(async () => {
    await page.getByLabel("Scopes", { exact: true }).press("Enter");
    await page.getByText("The client may have been created.").waitFor();
  });
  await page.unroute(isClients);
  await look("client-unsure");
  await page.getByLabel("Scopes", { exact: true }).press("Enter");
  const secret = page.getByRole("region", { name: "Client secret" });
  await secret.waitFor();
  const first = await secret.innerText();
  await look("client-secret");
  await press("I have stored it");
  await drawer(given.planted);
  await page.getByText("One secret works.").waitFor();
  await page.getByText("1 client", { exact: true }).waitFor();
  await look("client");
  if ((await page.content()).includes(first)) throw new Error("the secret is still in the page");
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href]));
  if (stored.includes(first)) throw new Error("the secret is stored");
  done("registered a program, whose secret was shown once");

  await press("Make a new secret");
  await look("client-renew");
  await page.getByRole("dialog").getByRole("button", { name: "Make new secret", exact: true }).click();
  await secret.waitFor();
  if ((await secret.innerText()) === first) throw new Error("the secret is the old one");
  await press("I have stored it");
  await page.getByRole("complementary").getByText("Two secrets work.").waitFor();
  await page.getByRole("cell", { name: "Two secrets" }).waitFor();
  await look("client-two-secrets");
  // Not from the page: the browser would ask for a password when it is refused.
  const form = (text) => ({ grant_type: "client_credentials", client_id: new URL(page.url()).searchParams.get("open"), client_secret: text });
  const token = async (text) => (await page.request.post(`${given.url}/oauth/token`, { form: form(text) })).status();
  if ((await token(first)) !== 200) throw new Error("the previous secret does not work");
  done("made a second secret while the first one still works");

  await page.getByRole("complementary").getByRole("button", { name: "Disable", exact: true }).click();
  await look("client-disable");
  await press("Disable client");
  await page.getByRole("cell", { name: "Disabled" }).waitFor();
  if ((await token(first)) !== 401) throw new Error("a disabled client gets tokens");
  await press("Enable client");
  await page.getByRole("dialog").getByRole("button", { name: "Enable client" }).click();
  await page.getByRole("cell", { name: "Two secrets" }).waitFor();
  done("disabled it and enabled it again");

  await page.getByRole("complementary").getByRole("button", { name: "Delete", exact: true }).click();
  await press("Delete client");
  await page.getByText("No clients yet").waitFor();
  await page.getByRole("complementary").waitFor({ state: "detached" });
  done("deleted it");

  await down("/clients", async () => {
    await go("/console/clients");
    await page.getByText("auth cannot respond now.").waitFor();
    await look("clients-down");
  });
  await press("Try again");
  await page.getByText("No clients yet").waitFor();
  done("saw auth fail and come back");
}

module.exports = { asAdmin };

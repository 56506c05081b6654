// The shell: palette, keys, themes, unknown addresses, what is stored in the browser, and signing out.

async function asUser({ given, page, go, heading, press, done, enter, look }) {
  await enter("/console", given.user);
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").waitFor();
  await look("palette");
  await page.keyboard.type("dark");
  await page.keyboard.press("Enter");
  await page.locator("html[data-theme=dark]").waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await look("keyboard");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("theme of the system");
  await page.keyboard.press("Enter");
  await page.locator("html[data-theme=system]").waitFor();
  done("used the palette");

  await go("/console/nowhere");
  await heading("Nothing here");
  await look("nothing-here");
  if (await page.getByRole("link", { name: "Users", exact: true }).count()) throw new Error("a user sees an entry for admins");
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  if (/eyJ|token/i.test(stored)) throw new Error(`a token is stored: ${stored}`);

  await page.getByRole("button", { name: /account menu/ }).click();
  await look("account-menu");
  await press("Sign out");
  await page.getByRole("heading", { level: 1, name: "Sign in to Gatehouse" }).waitFor();
  done("signed out");
}

module.exports = { asUser };

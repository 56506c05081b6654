// Users: an admin suspends an account and activates it again.

async function asAdmin({ given, page, press, done, expectRefusal, enter, look }) {
  await enter("/console/users", given.admin);
  await page.getByLabel("Search accounts").fill(given.user[0]);
  await page.getByText("1 account", { exact: true }).waitFor();
  await look("users");
  await page.locator(".rowlink").click();
  await page.getByRole("complementary").getByText("Not confirmed").waitFor();
  await look("user");
  await press("Suspend");
  await expectRefusal(async () => {
    await press("Suspend account");
    await page.locator("#field-reason[aria-invalid=true]").waitFor();
  });
  await look("user-reason");
  await page.getByLabel("Reason", { exact: true }).selectOption("requested");
  await page.getByLabel("Note", { exact: true }).fill("Asked for by the owner");
  await press("Suspend account");
  await press("Activate account");
  await page.getByLabel("Reason", { exact: true }).selectOption("requested");
  await page.getByLabel("Note", { exact: true }).fill("Asked for by the owner");
  await page.getByRole("dialog").getByRole("button", { name: "Activate account" }).click();
  await page.getByRole("complementary").getByRole("button", { name: "Suspend" }).waitFor();
  done("suspended an account and activated it again");
}

module.exports = { asAdmin };

// The team: a person writes their entry and hides a field; an admin makes it active; others see what they may.

async function asUser({ given, page, press, done, expectRefusal, enter, look, drawer }) {
  await enter("/console/team", given.user);
  await page.getByText("Nobody is in the directory yet").waitFor();
  await look("team-empty");
  await expectRefusal(async () => {
    await page.getByRole("link", { name: "Your entry", exact: true }).click();
    await page.getByText("You have no entry yet.").waitFor();
  });
  await look("team-none");
  await press("Write entry");
  await page.getByLabel("Position", { exact: true }).fill(given.planted[0]);
  await page.getByLabel("Department", { exact: true }).fill("Warehouse");
  await page.getByLabel("About", { exact: true }).fill("Keeps the warehouse running.");
  await page.getByLabel("Skills", { exact: true }).fill("Forklift, Python, forklift");
  await page.getByLabel("Website", { exact: true }).fill("http://example.com");
  await page.getByLabel("Who sees the text about you", { exact: true }).selectOption("private");
  await expectRefusal(async () => {
    await press("Store entry");
    await page.locator('[name="links.website"][aria-invalid=true]:focus').waitFor();
  });
  await look("team-refused");
  await page.getByLabel("Website", { exact: true }).fill("https://example.com");
  await press("Store entry");
  await page.getByRole("complementary").getByText("Not active").waitFor();
  await page.getByRole("complementary").getByText("Python", { exact: true }).waitFor();
  await look("team-own");
  done("wrote an entry");
}

async function asAdmin({ given, page, press, done, enter, look, drawer, down, go, expectRefusal }) {
  await enter("/console/team?q=forklift", given.admin);
  await page.locator(".rowlink").press("Enter");
  await page.getByRole("complementary").getByText("Keeps the warehouse running.").waitFor();
  await press("Change entry");
  await page.getByLabel(/^Active/).check();
  await look("team-edit");
  // Its owner moves the website meanwhile.
  await page.evaluate(async (id) => {
    const { position, department, bio, skills, links, visibility, field_visibility, version } = await (await fetch(`/team/${id}`)).json();
    const body = { position, department, bio, skills, links: { ...links, website: "https://example.org" }, visibility, field_visibility };
    const moved = await fetch(`/team/${id}`, { method: "PUT", headers: { "Content-Type": "application/json", "If-Match": `"${version}"` }, body: JSON.stringify(body) });
    if (!moved.ok) throw new Error(await moved.text());
  }, given.id);
  await expectRefusal(async () => {
    await press("Store entry");
    await page.getByRole("dialog").getByText("the other fields are shown as they are now").waitFor();
    await page.waitForFunction(() => document.getElementById("field-links.website").value === "https://example.org");
  });
  if (!(await page.getByLabel(/^Active/).isChecked())) throw new Error("what was chosen is lost");
  await look("team-stale");
  await press("Store entry");
  await page.getByRole("complementary").getByText("Active", { exact: true }).waitFor();
  await page.getByRole("complementary").getByText("example.org").waitFor();
  await page.getByRole("complementary").getByRole("link", { name: "Python", exact: true }).click();
  await page.getByRole("link", { name: "Remove Skill Python" }).waitFor();
  await press("Department");
  await page.getByRole("link", { name: "Warehouse (1)" }).click();
  await page.getByText("1 member", { exact: true }).waitFor();
  await look("team");
  done("made it active, and found it by skill and department");

  await down("/team", async () => {
    await go("/console/team");
    await page.getByText("users cannot respond now.").waitFor();
    await look("team-down");
  });
  await press("Try again");
  await page.locator(".rowlink").first().waitFor();
  done("saw the service fail and come back");
}

/** Another person does not see the hidden field; the owner leaves. */
async function asOther({ given, page, press, done, enter, drawer }) {
  await enter("/console/team", given.other);
  await page.locator(".rowlink").click();
  await page.getByRole("complementary").getByText("Forklift", { exact: true }).waitFor();
  if (await page.getByText("Keeps the warehouse running.").count()) throw new Error("a hidden field is shown");
  if (await page.getByRole("button", { name: "Change entry" }).count()) throw new Error("somebody else may change it");
  done("was not shown the hidden field");
}

async function asOwner({ given, page, press, done, enter, expectRefusal }) {
  await enter(`/console/team?open=${given.id}`, given.user);
  await press("Leave the directory");
  await page.getByRole("dialog").getByRole("button", { name: "Leave the directory" }).click();
  await page.getByText("Nobody is in the directory yet").waitFor();
  done("left the directory");
}

module.exports = { asUser, asAdmin, asOther, asOwner };

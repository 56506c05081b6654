// Tickets: opened and answered by their owner by keyboard, worked on by staff, and reopened.

async function asUser({ given, page, drawer, done, expectRefusal, enter, look }) {
  await enter("/console/tickets", given.user);
  await page.getByText("No tickets yet").waitFor();
  await look("tickets-empty");
  await page.keyboard.press("n");
  await page.getByLabel("Subject", { exact: true }).waitFor();
  await page.keyboard.type("Lamp");
  await page.keyboard.press("Tab");
  await page.keyboard.type("The lamp does not turn on, and it hums.");
  await expectRefusal(async () => {
    await page.keyboard.press("Control+Enter");
    await page.locator("#field-subject[aria-invalid=true]:focus").waitFor();
  });
  await page.locator("input[type=file]").setInputFiles({ name: given.planted[1], mimeType: "text/plain", buffer: Buffer.from("hums at 50 Hz") });
  await page.getByRole("dialog").getByRole("button", { name: /^Remove / }).waitFor();
  await look("ticket-refused");
  await page.getByLabel("Subject", { exact: true }).fill(given.planted[0]);
  await page.getByLabel("Subject", { exact: true }).press("Enter");
  await drawer(given.planted[0]);
  done("opened a ticket with a file");

  await page.getByLabel("Reply", { exact: true }).fill(given.planted[2]);
  await page.getByLabel("Reply", { exact: true }).press("Control+Enter");
  await page.locator(".thread > li").nth(1).waitFor();
  if (await page.getByLabel("Reply", { exact: true }).inputValue()) throw new Error("the reply is still in its field");
  done("replied by keyboard");
}

async function asStaff({ given, page, drawer, press, done, down, go, enter, look }) {
  await enter("/console/tickets", given.admin);
  await page.getByRole("link", { name: given.planted[0], exact: true }).first().waitFor();
  await look("tickets");
  await page.getByRole("link", { name: given.planted[0], exact: true }).first().click();
  await drawer(given.planted[0]);
  await press("Start work");
  await page.getByRole("status").getByRole("button", { name: "Undo" }).last().click();
  await page.getByRole("complementary").getByRole("button", { name: "Start work" }).waitFor();
  done("took a step back");

  await press("Assign to me");
  await page.getByRole("complementary").getByRole("button", { name: "Unassign" }).waitFor();
  await page.getByLabel("Reply", { exact: true }).fill("Ask the warehouse first.");
  await page.getByLabel("Internal note, for staff only").check();
  await press("Send");
  await page.locator(".thread > li.note").waitFor();
  await page.getByLabel("Reply", { exact: true }).fill("A new lamp is on its way.");
  await press("Send");
  await page.locator(".thread > li.staff").waitFor();
  await page.locator(".thread > li.note .said").getByText("Ask the warehouse first.").waitFor();
  await page.getByText("Change the tags").click();
  await page.getByLabel("Tags", { exact: true }).fill("delivery, vip");
  await press("Save tags");
  await page.getByRole("complementary").getByRole("link", { name: "vip", exact: true }).waitFor();
  await page.getByLabel("Tags", { exact: true }).waitFor({ state: "hidden" });
  done("tagged it");
  await look("ticket");
  await press("Resolve");
  await page.getByRole("complementary").getByRole("button", { name: "Reopen" }).waitFor();
  done("answered with a note for staff, and resolved it");

  await go("/console/tickets?status=closed&priority=low");
  await page.getByText("No tickets match").waitFor();
  await page.getByRole("link", { name: "Clear filters" }).click();
  await page.getByLabel("Search tickets").fill(given.planted[0].slice(1, 7));
  await page.waitForURL(/q=/);
  await page.getByRole("link", { name: given.planted[0], exact: true }).first().waitFor();
  await down("/tickets", async () => {
    await go("/console/tickets");
    await page.getByText("support cannot respond now.").waitFor();
    await look("tickets-down");
  });
  await press("Try again");
  await page.getByRole("link", { name: given.planted[0], exact: true }).first().waitFor();
  done("found it again, and saw the service fail and come back");
}

async function asUserAgain({ given, page, drawer, press, done, enter, look }) {
  await enter("/console/tickets", given.user);
  await page.getByRole("link", { name: given.planted[0], exact: true }).click();
  await drawer(given.planted[0]);
  await page.locator(".thread > li.staff").waitFor();
  if (await page.getByText("Ask the warehouse first.").count()) throw new Error("a user sees an internal note");
  await page.getByRole("group", { name: /^From 1/ }).getByRole("button", { name: "4" }).click();
  await page.getByText("4 of 5").waitFor();
  await look("ticket-rated");
  await press("Reopen");
  await page.getByRole("complementary").getByRole("button", { name: "Mark as resolved" }).waitFor();
  done("rated the answer and reopened the ticket");
}

module.exports = { asUser, asStaff, asUserAgain };

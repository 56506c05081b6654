// WorkSpaces: ask, see cost and savings, filter, look at a machine, decide on advice, sync.

async function asAdmin({ given, page, press, done, expectRefusal, enter, look, drawer, down, go, heading }) {
  await enter("/console/workspaces", given.admin);
  await heading("WorkSpaces");
  await page.getByText(/so far in|after USD/).waitFor();
  await page.getByRole("link", { name: /Pay for the whole month/ }).waitFor();
  await page.locator(".rowlink").first().waitFor();
  await look("workspaces");
  await page.getByText("Show as table").click();
  await page.getByRole("cell", { name: /^USD / }).first().waitFor();
  await page.getByText("Show as table").click();
  done("saw the cost as a chart and as a table");

  // By keyboard: a question, what was understood, and one filter less.
  await page.getByLabel("Ask about your WorkSpaces").focus();
  await page.keyboard.type("bananas");
  await expectRefusal(async () => {
    await page.keyboard.press("Enter");
    await page.getByText("These words were not understood: bananas.").waitFor();
  });
  await look("workspaces-not-understood");
  await page.getByRole("link", { name: "Always on WorkSpaces with less than 80 hours last month" }).press("Enter");
  await page.getByRole("button", { name: /^Remove Hours last month under 80/ }).waitFor();
  await look("workspaces-answer");
  const before = await page.getByText(/^\d+ WorkSpaces\.$/).innerText();
  await page.getByRole("button", { name: /^Remove Hours last month/ }).press("Enter");
  await page.getByRole("button", { name: /^Remove Hours last month/ }).waitFor({ state: "detached" });
  await page.getByText(/^\d+ WorkSpaces\.$/).waitFor();
  if ((await page.getByText(/^\d+ WorkSpaces\.$/).innerText()) === before) throw new Error("the answer is the same without the filter");
  done("asked, and took one of the filters away");

  await go("/console/workspaces");
  await page.getByRole("button", { name: "State", exact: true }).click();
  await page.getByRole("link", { name: "Stopped", exact: true }).click();
  await page.getByRole("link", { name: "Remove State Stopped" }).waitFor();
  await page.getByLabel("Search machines").fill("no such person");
  await page.getByText("No machines match").waitFor();
  await look("workspaces-nothing-matches");
  await page.getByRole("link", { name: "Clear filters" }).click();
  await page.getByLabel("Search machines").fill("contractors-025");
  await page.getByText("1 machine", { exact: true }).waitFor();
  await page.locator(".rowlink").click();
  await drawer("contractors-025");
  await page.getByRole("complementary").getByRole("button", { name: "Dismiss advice" }).first().waitFor();
  await page.getByRole("complementary").getByText(/\d h$/).first().waitFor();
  await look("workspace");
  done("found a machine and what it costs");

  await page.getByRole("complementary").getByRole("button", { name: "Dismiss advice" }).first().click();
  await page.getByRole("complementary").getByRole("button", { name: "Open again" }).first().waitFor();
  await look("workspace-dismissed");
  await go("/console/workspaces?tab=savings&state=dismissed");
  await page.getByRole("link", { name: "ws-demo00285" }).waitFor();
  await look("workspaces-savings");
  await page.getByRole("link", { name: "ws-demo00285" }).click();
  await page.getByRole("complementary").getByRole("button", { name: "Open again" }).click();
  await page.getByRole("complementary").getByRole("button", { name: "Dismiss advice" }).waitFor();
  done("dismissed advice and opened it again");

  await go("/console/workspaces");
  await press("Sync now");
  await page.getByText("The sync is complete.").waitFor({ timeout: 120_000 });
  done("synced");

  await down("/workspaces", async () => {
    await go("/console/workspaces");
    await page.getByText("inventory cannot respond now.").waitFor();
    await page.getByRole("link", { name: /Pay for the whole month/ }).waitFor();
    await look("workspaces-down");
  });
  await press("Try again");
  await page.locator(".rowlink").first().waitFor();
  done("saw the list fail and come back");
}

module.exports = { asAdmin };

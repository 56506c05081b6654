// The gateway: an admin asks why a request is refused, finds a route, and looks at targets, limits and errors.

async function asAdmin({ given, page, press, done, expectRefusal, enter, look, heading, down, go }) {
  await enter("/console/gateway", given.admin);
  await heading("Gateway");
  await page.getByRole("cell", { name: "Worker 1" }).waitFor();
  await look("gateway");

  await page.getByRole("link", { name: "Routes", exact: true }).click();
  await page.getByRole("cell", { name: "/auth", exact: true }).waitFor();
  await page.getByLabel("Path", { exact: true }).fill("//evil[");
  await expectRefusal(async () => {
    await press("Explain");
    await page.locator("#explain-fault").waitFor();
  });
  await look("gateway-explain-refused");
  await page.getByLabel("Path", { exact: true }).fill("/users");
  await page.getByLabel("Method", { exact: true }).selectOption("DELETE");
  await page.getByLabel("Path", { exact: true }).press("Enter");
  await page.getByText("Refused", { exact: true }).waitFor();
  await page.getByLabel("Method", { exact: true }).selectOption("GET");
  await page.getByLabel("As whom", { exact: true }).selectOption("user");
  await press("Explain");
  await page.getByText("Forwarded", { exact: true }).waitFor();
  await look("gateway-explained");
  await page.reload();
  await page.getByText("Forwarded", { exact: true }).waitFor();
  done("asked why a request is refused, and kept the question in the address");

  // By keyboard: find a route, and take the filter away again.
  await page.getByLabel("Filter routes").focus();
  await page.keyboard.type("/audit");
  await page.waitForURL((url) => url.searchParams.get("q") === "/audit");
  await page.getByRole("cell", { name: "/auth", exact: true }).waitFor({ state: "detached" });
  await page.keyboard.type("nothing");
  await page.getByText("No routes match").waitFor();
  await look("gateway-routes-nothing");
  await page.getByRole("link", { name: "Clear filters" }).press("Enter");
  await page.getByRole("cell", { name: "/auth", exact: true }).waitFor();
  done("found a route");

  await page.getByRole("link", { name: "Targets", exact: true }).click();
  await page.getByRole("cell", { name: "Healthy" }).first().waitFor();
  await look("gateway-targets");
  await page.getByRole("link", { name: "Limits", exact: true }).click();
  await page.getByRole("cell", { name: /in \d+ s by/ }).first().waitFor();
  await look("gateway-limits");
  // Something that the gateway refuses, so that there is an error to show.
  await expectRefusal(() => page.evaluate(() => fetch("/auth/login", { method: "PATCH" })));
  await page.getByRole("link", { name: "Errors", exact: true }).click();
  await page.getByRole("cell", { name: /405 Method not allowed/ }).first().waitFor();
  await look("gateway-errors");
  await page.getByRole("button", { name: "Code", exact: true }).click();
  await page.getByRole("link", { name: "method_not_allowed", exact: true }).click();
  await page.getByRole("link", { name: "Remove Code method_not_allowed" }).click();
  await page.getByRole("link", { name: "Backups", exact: true }).click();
  await page.getByRole("cell", { name: "gatehouse-2026-01-01T03-00-00Z.tar" }).waitFor();
  await page.getByText(/The newest backup is \d+ d old/).waitFor();
  await look("gateway-backups");
  done("looked at targets, limits, errors and backups");

  await down("/gateway/targets", async () => {
    await go("/console/gateway?tab=targets");
    await page.getByText("The gateway cannot respond now.").waitFor();
    await look("gateway-down");
  });
  await press("Try again");
  await page.getByRole("cell", { name: "Healthy" }).first().waitFor();
  done("saw it fail and come back");
}

/** A user has no such screen. */
async function asUser({ given, page, enter, done }) {
  await enter("/console/gateway", given.user);
  await page.getByText("There is no page at this address").waitFor();
  if (await page.getByRole("link", { name: "Gateway", exact: true }).count()) throw new Error("a user sees the gateway");
  done("is not there for users");
}

module.exports = { asAdmin, asUser };

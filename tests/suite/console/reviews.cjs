// Reviews: approved by keyboard, hidden and shown again, rejected with a reason.

async function asStaff({ given, page, drawer, press, done, down, go, expectRefusal, enter, look }) {
  const [first, second] = given.planted;
  await enter("/console/reviews?status=hidden", given.admin);
  await page.getByText("No reviews are hidden").waitFor();
  await look("reviews-empty");
  await page.getByRole("link", { name: "Show those that wait" }).click();
  await page.getByRole("link", { name: first, exact: true }).waitFor();
  await look("reviews");
  await page.getByRole("link", { name: first, exact: true }).press("Enter");
  await drawer(first);
  await look("review");
  await page.keyboard.press("a");
  await drawer(second); // the next one takes its place
  done("approved a review by keyboard");

  // Somebody else decides meanwhile.
  const id = new URL(page.url()).searchParams.get("open");
  await page.getByRole("complementary").getByText("Pending").waitFor();
  await page.evaluate((review) => fetch(`/reviews/${review}/moderate`, { method: "PUT", headers: { "Content-Type": "application/json", "If-Match": '"1"' }, body: '{"status": "approved"}' }), id);
  await press("Reject review");
  await page.getByLabel("Reason", { exact: true }).fill(given.planted[2]);
  await look("review-reject");
  await expectRefusal(async () => {
    await page.getByRole("dialog").getByRole("button", { name: "Reject review" }).click();
    await page.getByText("Somebody decided meanwhile").waitFor();
  });
  await page.getByRole("complementary").getByRole("button", { name: "Hide review" }).waitFor();
  await press("Reject review");
  await page.getByLabel("Reason", { exact: true }).fill(given.planted[2]);
  await page.getByRole("dialog").getByRole("button", { name: "Reject review" }).click();
  await page.getByRole("complementary").waitFor({ state: "detached" });
  done("rejected a review that somebody else had approved");

  await page.getByRole("link", { name: "Approved" }).click();
  await page.getByRole("link", { name: first, exact: true }).click();
  await press("Hide review");
  await page.locator(".toast", { hasText: `Hidden: ${first}` }).getByRole("button", { name: "Undo" }).click();
  await page.getByRole("link", { name: first, exact: true }).waitFor();
  done("hid a review, and took it back");

  await down("/reviews/moderation", async () => {
    await go("/console/reviews");
    await page.getByText("support cannot respond now.").waitFor();
    await look("reviews-down");
  });
  await press("Try again");
  await page.getByText("No reviews wait").waitFor();
  done("saw the service fail and come back");
}

module.exports = { asStaff };

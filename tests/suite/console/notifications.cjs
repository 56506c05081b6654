// Notifications: read one, and go from it to its order.

async function asUser({ given, page, keys, done, drawer, press, enter, look, heading }) {
  await enter("/console/orders", given.user);
  await heading("Orders");
  await keys("gb");
  await heading("Notifications");
  await page.getByRole("link", { name: "Your order was placed" }).first().waitFor();
  await look("notifications");
  await page.getByRole("link", { name: "Your order was placed" }).first().click();
  await page.getByRole("complementary").getByText("Read", { exact: true }).waitFor();
  await look("notification");
  await page.getByRole("complementary").getByRole("link", { name: "Show the order" }).click();
  await drawer("Chair");
  done("went from a notification to its order");

}

module.exports = { asUser };

// Every screen in the colours that the system forces: what has the focus shows it, and nothing moves for people who want no motion.

const STOPS = 30;

async function asAdmin({ given, page, go, done, enter }) {
  await enter("/console", given.admin);
  await page.emulateMedia({ forcedColors: "active", reducedMotion: "reduce" });
  for (const name of given.screens) {
    await go(`/console/${name}`);
    await page.locator("#main h1").waitFor({ state: "attached" });
    await page.locator("#main [aria-busy=true]").first().waitFor({ state: "detached" });
    await page.locator("#main").focus();
    for (let stop = 0; stop < STOPS; stop += 1) {
      await page.keyboard.press("Tab");
      const seen = await page.evaluate(ring);
      if (!seen.isInside) break;
      if (!seen.isVisible) throw new Error(`${name}: no ring around ${seen.what}`);
    }
    await expectStill(page, name);
  }
  done(`saw the focus on ${given.screens.length} screens`);
  await waiting({ page, go, done });
}

/** What is on the screen only while a response is awaited, which a fast machine seldom shows. */
async function waiting({ page, go, done }) {
  let letFirst, letSecond;
  const first = new Promise((resolve) => { letFirst = resolve; }), second = new Promise((resolve) => { letSecond = resolve; });
  const isList = (url) => url.pathname === "/orders";
  await page.route(isList, async (route) => {
    const isNext = route.request().url().includes("cursor=held");
    await (isNext ? second : first);
    const rows = isNext ? [] : [{ id: "01a221d4-2f01-7537-8524-afb637df0236", user_id: "", product_name: "Chair", quantity: 1, total_price: "1.00", currency: "USD", status: "pending", created: "2026-01-31T12:00:00Z" }];
    await route.fulfill({ json: rows, headers: isNext ? {} : { link: '</orders?cursor=held>; rel="next"' } });
  });
  await go("/console/orders");
  await page.locator(".skel").first().waitFor();
  await expectStill(page, "orders, before its rows");
  letFirst();
  await page.locator("footer [aria-busy=true]").waitFor();
  await expectStill(page, "orders, before its next rows");
  letSecond();
  await page.locator("footer button").waitFor({ state: "detached" });
  await page.unroute(isList);
  done("saw a list wait without motion");
}

/** Nothing moves without end; what does is named. */
async function expectStill(page, where) {
  const moving = await page.evaluate(() => document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations === Infinity).map((one) => {
    const { target, pseudoElement } = one.effect;
    return `${one.animationName ?? one.transitionProperty} of ${target.outerHTML.slice(0, 120)} ${pseudoElement ?? ""}`;
  }));
  if (moving.length) throw new Error(`${where}: these move: ${moving.join(" | ")}`);
}

/** Whether the focused element, or what it draws around itself, has an outline that it does not have without the focus. Runs in the page. */
function ring() {
  const focused = document.activeElement;
  const outlines = () => ["", "::before", "::after"].map((part) => {
    const { content, outlineStyle, outlineWidth } = getComputedStyle(focused, part || null);
    return content === "none" || outlineStyle === "none" ? 0 : parseFloat(outlineWidth);
  });
  const widths = outlines();
  focused.blur();
  const before = outlines();
  focused.focus();
  return {
    isInside: Boolean(focused.closest("#main")),
    isVisible: widths.some((width, n) => width >= 2 && width !== before[n]),
    what: focused.outerHTML.slice(0, 160),
  };
}

module.exports = { asAdmin };

// Drives a real Chromium through the dashboard of a real server, as an operator and as a viewer, in both themes and at phone
// width. Fails with a message; leaves pictures in $PICTURES if that names a folder.
import { createRequire } from "node:module";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const need = createRequire(path.join(process.env.BROWSER_MODULES, "x.js"));
const { chromium } = need("playwright-core");
const axe = fs.readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");
const { SITE, CHROMIUM, PSQL, DATABASE_URL, TARGET, SNAPSHOT_SECRET, PICTURES } = process.env;
const PATIENCE = 120_000;

let faults = [];
const expect = (truth, what) => { if (!truth) throw new Error(what); };
const sql = (text) => execFileSync(PSQL, ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", text, DATABASE_URL]);

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, acceptDownloads: true, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  // Whatever the policy forbids and whatever a script gets wrong is in the console.
  page.on("console", (message) => {
    const told = message.text();
    if (message.type() === "error" && !/status of 4\d\d/.test(told)) faults.push(`${page.url()}: ${told}`);
  });
  page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(SITE)) faults.push(`${page.url()}: asks for ${request.url()}`);
  });
  return page;
}

async function logIn(page, name, password) {
  await page.goto(SITE + "/login");
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.click("text=Log in >> nth=-1");
}

// Serious and critical faults of accessibility.
async function accessible(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  expect(found.passes.length > 10, `axe looks at ${name}`);
  for (const fault of found.violations.filter((fault) => ["serious", "critical"].includes(fault.impact))) {
    faults.push(`axe: ${name}: ${fault.id}: ${fault.nodes.map((node) => node.target.join(" ")).slice(0, 4).join(", ")}: ${fault.nodes[0].failureSummary}`);
  }
}

// That, and nothing that is wider than the window; and a picture.
async function check(page, name, { widthAlone = false } = {}) {
  if (!widthAlone) await accessible(page, name);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wider > 1) faults.push(`${name} is ${wider} pixels wider than the window`);
  if (PICTURES) await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
}

async function finished(page, outcome) {
  await page.waitForSelector(`.heading .pill:has-text("${outcome}")`);
}

// Wrong logins, and pages without a login.
const page = await open({ colorScheme: "light" });
await page.goto(SITE + "/runs");
expect(page.url().includes("/login?next="), "a page without a login leads to the login");
await check(page, "login-light");
await logIn(page, "ada", "wrong");
expect((await page.textContent("[role=alert]")).includes("Name or password are wrong"), "a wrong login is told");
await logIn(page, "ada", "an operator's password");
await page.waitForSelector("h1:has-text('Sources')");
expect((await page.textContent("main")).includes("no backup yet"), "a source without a backup says so");

// A backup, watched. Without a word of the page the events must move it.
await page.click("button:has-text('Back up now')");
await page.waitForURL("**/runs/*");
const run = page.url();
await page.waitForFunction(() => !document.getElementById("live") || document.getElementById("counters").textContent !== "" || document.querySelectorAll("#events li").length > 0);
// The same page without its script stands still.
const still = await open({ colorScheme: "light", storageState: await page.context().storageState() });
await still.route("**/run.js*", (route) => route.fulfill({ contentType: "text/javascript", body: "" }));
await still.goto(run);
await check(still, "running-light");
await still.context().close();
await finished(page, "done");
expect((await page.$$("#events li")).length >= 3, "the steps are told");
await check(page, "run-light");
await page.click("dd a:has(code)");
await page.waitForSelector("h1:has-text('Snapshot')");
const first = page.url().split("/").pop();
const text = await page.textContent("main");
expect(text.includes("orders") && text.includes("Inventory"), "the snapshot shows tables and inventory");
await page.click(".inventory a:has-text('table')");
await page.waitForSelector(".names li:has-text('orders')");

// Something changes; a second backup; what differs.
sql("UPDATE public.orders SET total = total + 1 WHERE id <= 3; DELETE FROM public.orders WHERE id = 4; UPDATE public.customers SET password_hash = 'new-" + SNAPSHOT_SECRET + "' WHERE id = 1; ALTER TABLE public.customers ADD COLUMN note text; CREATE VIEW public.big AS SELECT * FROM public.orders WHERE total > 100");
await page.goto(SITE + "/");
await page.click("button:has-text('Back up now')");
await page.waitForURL("**/runs/*");
await finished(page, "done");
await page.goto(SITE + "/snapshots");
expect((await page.$$("tbody tr")).length === 2, "there are two snapshots");
await page.click("tbody tr >> nth=0 >> a");
await page.click("text=Compare with the one before");
await page.waitForSelector("h2:has-text('Definitions')");
await page.check("[name=rows]");
await page.click("button:has-text('Compare')");
await page.waitForSelector("summary:has-text('Rows of public.orders')");
const difference = await page.textContent("main");
expect(difference.includes("(hidden)") && !difference.includes(SNAPSHOT_SECRET), "a secret column is hidden");
expect(difference.includes("view public.big"), "the new view is told");
await check(page, "diff-light");

// A drill.
await page.goto(SITE + "/");
await page.click("button:has-text('Drill')");
await page.waitForURL("**/runs/*");
await finished(page, "done");
await page.goto(SITE + "/");
expect((await page.textContent(".facts")).includes("proven"), "the source is proven");
await check(page, "sources-light");
await page.click(".source h2 a");
await page.waitForSelector("figure.chart");
await check(page, "source-light");

// An export.
await page.goto(`${SITE}/snapshots/${first}`);
await check(page, "snapshot-light");
await page.selectOption("#format", "csv");
await page.selectOption("#table", "public.customers");
const [download] = await Promise.all([page.waitForEvent("download"), page.click("text=Download")]);
const csv = fs.readFileSync(await download.path(), "utf8");
expect(csv.startsWith("id,") && csv.trim().split("\n").length === 51, `the export has all rows: ${csv.slice(0, 80)}`);

// A restore: the plan, a wrong name, the right one.
await page.goto(`${SITE}/restore?snapshot=${first}`);
await check(page, "restore-light");
await page.fill("#database", TARGET);
await page.check("[name=create]");
await page.click("text=Show the plan");
await page.waitForSelector("h1:has-text('The plan')");
await check(page, "plan-light");
expect(await page.isDisabled("button.danger"), "the button waits for the name");
await page.fill("#typed", "another");
expect(await page.isDisabled("button.danger"), "another name does not help");
const wrong = await page.evaluate(async () => {
  const form = document.querySelector("form.confirm");
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  return answer.status;
});
expect(wrong === 409, `the server refuses another name, too: ${wrong}`);
await page.fill("#typed", TARGET);
await page.click("button.danger");
await page.waitForURL("**/runs/*");
await finished(page, "done");
expect((await page.textContent("main")).includes(`/${TARGET}`), "the run says where it went");
const rows = execFileSync(PSQL, ["-XAtc", "SELECT count(*) FROM public.orders", DATABASE_URL.replace(/\/[^/?]*(\?|$)/, `/${TARGET}$1`)]).toString().trim();
expect(rows === process.env.ORDERS, `the rows are there: ${rows}`);

// Every page in the dark and at phone width.
const pages = { sources: "/", source: "/sources/shop", snapshots: "/snapshots", snapshot: `/snapshots/${first}`, runs: "/runs", run: new URL(run).pathname,
  diff: page.url() && `/diff?a=${first}&b=latest&rows=true`, restore: "/restore" };
const state = await page.context().storageState();
for (const [look, options] of [["light", { colorScheme: "light" }], ["dark", { colorScheme: "dark" }], ["phone-dark", { colorScheme: "dark", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 }], ["phone-light", { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 }]]) {
  const other = await open({ ...options, storageState: state });
  for (const [name, address] of Object.entries(pages)) {
    await other.goto(SITE + address);
    await check(other, `${name}-${look}`, { widthAlone: look.startsWith("phone") });
  }
  await other.context().clearCookies();
  await other.goto(SITE + "/login");
  await check(other, `login-${look}`, { widthAlone: look.startsWith("phone") });
  await other.context().close();
}

// The theme is chosen by hand, too.
await page.goto(SITE + "/runs");
await page.click("details.account summary");
await check(page, "menu-light");
await page.click("button:has-text('dark')");
await page.waitForSelector("html[data-theme=dark]");
expect(page.url() === SITE + "/runs", "the theme leads back to the page");
await check(page, "runs-chosen-dark");

// A form of another site.
const evil = await open({ storageState: state });
await evil.route("http://evil.example/**", (route) => route.fulfill({ contentType: "text/html", body: `<form id=f method=post action="${SITE}/start"><input name=source value=shop><input name=job value=backup></form>` }));
const before = faults.length;
await evil.goto("http://evil.example/");
await Promise.all([evil.waitForNavigation(), evil.evaluate(() => document.getElementById("f").submit())]);
faults.length = before;
const refused = await evil.textContent("main");
expect(refused.includes("from another site") || refused.includes("not logged in"), `a cross-site form is refused: ${refused}`);
await evil.context().close();

// A viewer looks and may not start.
const viewer = await open({});
await logIn(viewer, "vic", "a viewer's password");
await viewer.waitForSelector("h1:has-text('Sources')");
expect((await viewer.$$("button:has-text('Back up now'), button:has-text('Drill'), nav a:has-text('Restore')")).length === 0, "a viewer is offered nothing to start");
const denied = await viewer.evaluate(async () => {
  const csrf = document.querySelector("[name=csrf]").value;
  const answer = await fetch("/start", { method: "POST", body: new URLSearchParams({ csrf, source: "shop", job: "backup" }) });
  return answer.status;
});
expect(denied === 403, `a viewer is refused: ${denied}`);
await viewer.goto(`${SITE}/snapshots/${first}`);
await check(viewer, "snapshot-viewer");

// Nobody else's session, and one that has expired: the cookie's text is not that of any session.
const cookies = await viewer.context().cookies();
await viewer.context().addCookies(cookies.map((cookie) => (cookie.name === "basekeep_session" ? { ...cookie, value: "x".repeat(43) } : cookie)));
await viewer.goto(SITE + "/runs");
expect(viewer.url().includes("/login"), "a session that is not known leads to the login");

// A session ends when it is not used: vic's is good for a few seconds by the configuration of the second server.
if (process.env.SHORT_SITE) {
  const short = await browser.newPage();
  await short.goto(process.env.SHORT_SITE + "/login");
  await short.fill("#name", "vic");
  await short.fill("#password", "a viewer's password");
  await short.click("text=Log in >> nth=-1");
  await short.waitForSelector("h1:has-text('Sources')");
  await short.waitForFunction(async () => {
    // Asking would keep the session alive; so it waits, asks once, and waits longer where that was too early.
    window.pause = (window.pause ?? 1500) * 1.5;
    await new Promise((done) => setTimeout(done, window.pause));
    const answer = await fetch("/runs", { redirect: "manual" });
    return answer.type === "opaqueredirect";
  });
  await short.goto(process.env.SHORT_SITE + "/runs");
  expect(short.url().includes("/login"), "an expired session leads to the login");
}

// Without JavaScript all of it works.
const plain = await open({ javaScriptEnabled: false, storageState: state });
await plain.goto(SITE + "/");
await plain.click("button:has-text('Back up now')");
await plain.waitForURL("**/runs/*");
await plain.waitForSelector(".heading .pill:has-text('done')");
await plain.context().close();

await page.click("details.account summary");
await page.click("text=Log out");
await page.waitForURL("**/login");
await browser.close();
expect(faults.length === 0, faults.join("\n"));
console.log("all is well");

// Pages that read the fields which the inventory's first web interface reads.
"use strict";

const $ = (selector) => document.querySelector(selector);
const say = (words) => { $("#said").textContent = words; };
const FILTERS = {
  workspaces: ["user_name", "state", "running_mode", "terminated"],
  usage: ["user_name", "month_from", "month_to"],
  billing: ["user_name", "start_date", "end_date"],
  cloudtrail: ["event_name", "workspace_id", "from_date", "to_date"],
};
const COLUMNS = {
  workspaces: ["workspace_id", "user_name", "user_display_name", "state", "compute_type", "running_mode", "root_volume_size_gib", "user_volume_size_gib", "created_at", "created_by", "last_known_user_connection_timestamp"],
  usage: ["workspace_id", "user_name", "bundle_id", "running_mode", "month", "usage_hours"],
  billing: ["workspace_id", "user_name", "service", "usage_type", "start_date", "end_date", "amount", "currency"],
  cloudtrail: ["event_time", "event_name", "workspace_id", "username", "source_ip_address", "aws_region"],
  syncs: ["sync_type", "status", "records_processed", "started_at"],
  recent: ["user_name", "state", "running_mode"],
  accounts: ["name", "accountId", "region", "isDefault", "status", "lastSync"],
  servers: ["name", "serverUrl", "baseDn", "isDefault", "status"],
  users: ["username", "email", "role"],
  settings: ["key", "value"],
};
const ADD = {
  accounts: { path: "/admin/aws-accounts", fields: ["name", "region", "accessKeyId", "secretAccessKey"], more: { isDefault: false } },
  servers: { path: "/admin/ldap-servers", fields: ["name", "serverUrl", "baseDn", "bindUsername", "bindPassword", "searchFilter"], more: { isDefault: false } },
  users: { path: "/admin/users", fields: ["username", "email", "password", "role"], more: {} },
};

/** A table of rows; a field that the response lacks is shown as such, unlike one without a value. */
function table(id, rows, actions = {}) {
  const shown = document.createElement("table");
  shown.id = id;
  shown.createTHead().insertRow().append(...COLUMNS[id].map((name) => cell("th", name)));
  for (const row of rows) {
    const line = shown.insertRow();
    for (const name of COLUMNS[id]) line.append(cell("td", name in row ? `${row[name] ?? "-"}` : "MISSING"));
    for (const [name, act] of Object.entries(actions)) line.append(button(name, () => act(row)));
  }
  return shown;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

/** A button that says what its action returns, or why it was refused. */
function button(name, act) {
  const made = cell("button", name);
  made.type = "button";
  made.onclick = () => act().then((words) => words && say(words), (error) => say(error.message));
  return made;
}

function fields(names, id) {
  const form = document.createElement("form");
  form.id = id;
  for (const name of names) {
    const input = document.createElement("input");
    input.name = input.placeholder = name;
    form.append(input);
  }
  return form;
}

const valuesOf = (form) => Object.fromEntries(new FormData(form));

async function dashboard() {
  const [stats, recent, syncs] = await Promise.all([
    read("/dashboard"), list("workspaces", {}, { limit: 10 }), list("sync/history", {}, { limit: 10 }),
  ]);
  const hours = stats.current_month_usage;
  const figures = [stats.total_workspaces, stats.active_workspaces, hours.total_hours.toFixed(1), hours.avg_hours.toFixed(1)];
  $("main").replaceChildren(
    ...figures.map((figure) => cell("p", `${figure}`)), table("recent", recent.data), table("syncs", syncs.data),
  );
  $("#total").textContent = stats.last_sync ?? "";
}

/** A list with its filters; those of WorkSpaces are also chosen from what exists. */
async function listing(name) {
  const form = fields(FILTERS[name], "filters");
  $("#filters").replaceWith(form);
  const load = async () => {
    const found = await list(name, valuesOf(form), name === "workspaces" ? { offset: 0, limit: PAGE_ROWS } : {});
    $("#total").textContent = `${found.total} rows`;
    $("main").replaceChildren(table(name, found.data));
  };
  const save = (format) => download(name, format, valuesOf(form)).then(() => "Saved.");
  form.append(button("Filter", load), button("CSV", () => save("csv")), button("Excel", () => save("xlsx")));
  if (name === "workspaces") {
    const options = await read("/workspaces/filters/options");
    form.append(cell("p", [...options.states, ...options.runningModes].join(" ")));
  }
  await load();
}

const ACTIONS = {
  accounts: {
    Test: (row) => read(`/admin/aws-accounts/${row.id}/test`).then((found) => found.status),
    Sync: (row) => read(`/admin/aws-accounts/${row.id}/sync`, "POST").then((found) => found.message),
    Rename: (row) => read(`/admin/aws-accounts/${row.id}`, "PUT", {
      name: `${row.name} 2`, region: row.region, accessKeyId: "", secretAccessKey: "", isDefault: row.isDefault,
    }).then((found) => found.message),
    Delete: (row) => read(`/admin/aws-accounts/${row.id}`, "DELETE").then((found) => found.message),
  },
  servers: {
    Test: (row) => read(`/admin/ldap-servers/${row.id}/test`).then((found) => found.status),
    Sync: (row) => read(`/admin/ldap-servers/${row.id}/sync`, "POST").then((found) => found.message),
    Rename: (row) => read(`/admin/ldap-servers/${row.id}`, "PUT", {
      name: `${row.name} 2`, serverUrl: row.serverUrl, baseDn: row.baseDn, bindUsername: row.bindUsername,
      bindPassword: "", searchFilter: row.searchFilter, isDefault: row.isDefault,
    }).then((found) => found.message),
    Delete: (row) => read(`/admin/ldap-servers/${row.id}`, "DELETE").then((found) => found.message),
  },
  users: { Delete: (row) => read(`/admin/users/${row.id}`, "DELETE").then((found) => found.message) },
};

async function things(name) {
  const { path, fields: names, more } = ADD[name];
  const load = async () => {
    const found = await read(path);
    $("main").replaceChildren(form, table(name, found[name], ACTIONS[name]));
  };
  const form = fields(names, "add");
  form.append(button("Add", () => read(path, "POST", { ...valuesOf(form), ...more }).then(load).then(() => "Added.")), button("Reload", load));
  await load();
}

async function settings() {
  const found = await read("/admin/settings");
  const save = button("Save", () => read("/admin/settings", "PUT", { SMTP_HOST: "mail.example.com", SMTP_PORT: "587" }));
  $("main").replaceChildren(save, table("settings", Object.values(found.settings).flat()));
}

const PAGES = { dashboard, settings };

async function open(name) {
  $("#filters").replaceWith(fields([], "filters"));
  $("#total").textContent = "";
  document.body.dataset.shown = "";
  try {
    await (PAGES[name] ?? (() => (name in ADD ? things(name) : listing(name))))();
    document.body.dataset.shown = name;
  } catch (error) {
    say(error.message);
  }
}

for (const one of document.querySelectorAll("[data-page]")) one.onclick = () => open(one.dataset.page);
$("#sync").onclick = () => read("/sync/trigger?type=all", "POST").then(
  (found) => say(`${found.sync_type} started`), (error) => say(error.message));
$("#login").onsubmit = async (event) => {
  event.preventDefault();
  say("");
  const { username, password } = valuesOf($("#login"));
  try {
    const user = await signIn(username, password);
    for (const one of document.querySelectorAll(".admin")) one.hidden = user.role !== "ADMIN";
    $("#login").hidden = true;
    $("nav").hidden = false;
    await open("dashboard");
  } catch (error) {
    say(error.message);
  }
};

"use strict";
/* Filters, pages and keys. Heads are read at once; details only for what is shown or searched. */

const HEAD = data("head");
const heads = HEAD.heads;
const PER_PAGE = 20;
const chunks = new Map();
const haystacks = [];
let found = [], page = 0, focused = -1, typing = 0;

function detail(i) {
  const chunk = Math.floor(i / HEAD.chunk);
  if (!chunks.has(chunk)) chunks.set(chunk, data(`detail-${chunk}`));
  return chunks.get(chunk)[i % HEAD.chunk];
}

function strings(value) {
  if (typeof value === "string") return value;
  return value && typeof value === "object" ? Object.values(value).map(strings).join("\n") : "";
}

function haystack(i) {
  haystacks[i] ??= `${heads[i].id}\n${heads[i].tasks.join(" ")}\n${strings(detail(i))}`.toLowerCase();
  return haystacks[i];
}

/* State of the filters: `tasks` are those wanted, none for all. */
const EMPTY = { q: "", id: "", state: "kept", tasks: [], split: "", reason: "", score: "", min: "", max: "", sort: "" };
let wanted = { ...EMPTY };

function terms(query) {
  return [...query.toLowerCase().matchAll(/"([^"]+)"|(\S+)/g)].map((match) => match[1] || match[2]);
}

function passes(i, query) {
  const head = heads[i];
  if (wanted.id) return head.id === wanted.id;
  if (wanted.state !== "all" && head.state !== wanted.state) return false;
  if (wanted.split && head.split !== wanted.split) return false;
  if (wanted.reason && !head.reasons.includes(wanted.reason)) return false;
  if (wanted.tasks.length && !head.tasks.some((task) => wanted.tasks.includes(task))) return false;
  if (wanted.score && (wanted.min !== "" || wanted.max !== "")) {
    const low = wanted.min === "" ? -Infinity : Number(wanted.min), high = wanted.max === "" ? Infinity : Number(wanted.max);
    if (!(head.scores[wanted.score] || []).some((value) => value >= low && value <= high)) return false;
  }
  return query.every((term) => haystack(i).includes(term));
}

function refresh(keepPage) {
  const query = terms(wanted.q);
  found = [];
  for (let i = 0; i < heads.length; i++) if (passes(i, query)) found.push(i);
  if (wanted.sort && wanted.score) {
    const sign = wanted.sort === "up" ? 1 : -1;
    const value = (i) => Math.min(...(heads[i].scores[wanted.score] || [NaN]));
    found.sort((a, b) => (isNaN(value(a)) - isNaN(value(b))) || sign * (value(a) - value(b)) || a - b);
  }
  page = keepPage ? Math.min(page, pages() - 1) : 0;
  remember();
  show();
}

const pages = () => Math.max(1, Math.ceil(found.length / PER_PAGE));

function show() {
  const first = page * PER_PAGE, here = found.slice(first, first + PER_PAGE);
  const every = HEAD.of_kept + HEAD.of_rejected;
  document.getElementById("count").textContent = found.length
    ? `${number(first + 1)}–${number(first + here.length)} of ${number(found.length)} found${heads.length < every
      ? `; the page holds ${number(heads.length)} of ${number(every)}, evenly over ${HEAD.figures.dataset === "realign" ? "tasks" : "scores"} and reasons` : ""}`
    : "Nothing fits these filters.";
  const cards = document.getElementById("cards");
  awaited.length = 0;
  cards.replaceChildren(...here.map((i, k) => card(heads[i], detail(i), `${first + k + 1} of ${found.length}`)));
  focused = -1;
  for (const id of ["pager-top", "pager-bottom"]) pager(document.getElementById(id));
}

function pager(element) {
  element.hidden = pages() === 1;
  const box = h("input", { type: "number", min: 1, max: pages(), value: page + 1, "aria-label": "Page", onchange: () => turn(box.valueAsNumber - 1) });
  element.replaceChildren(
    h("button", { type: "button", disabled: page === 0, onclick: () => turn(page - 1) }, "← Previous"),
    h("span", null, "Page "), box, h("span", null, `of ${number(pages())}`),
    h("button", { type: "button", disabled: page >= pages() - 1, onclick: () => turn(page + 1) }, "Next →"));
}

function turn(to) {
  if (!Number.isFinite(to)) return;
  page = Math.max(0, Math.min(pages() - 1, to));
  remember();
  show();
  document.getElementById("samples").scrollIntoView();
}

/* The filters live in the address, so that a view can be kept and sent. */
function remember() {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(wanted)) {
    if (Array.isArray(value) ? value.length : value !== EMPTY[key]) said.set(key, Array.isArray(value) ? value.join("|") : value);
  }
  if (page) said.set("page", page + 1);
  const hash = said.toString() ? `#?${said}` : " ";
  if (location.hash !== hash.trim() && (said.toString() || location.hash.startsWith("#?"))) history.replaceState(null, "", hash.trim() || location.pathname);
}

function recall() {
  wanted = { ...EMPTY };
  if (!location.hash.startsWith("#?")) return 0;
  const said = new URLSearchParams(location.hash.slice(2));
  for (const key of Object.keys(EMPTY)) {
    if (said.has(key)) wanted[key] = Array.isArray(EMPTY[key]) ? said.get(key).split("|") : said.get(key);
  }
  return Math.max(0, Number(said.get("page") || 1) - 1);
}

function select(key, label, choices) {
  const box = h("select", { name: key, onchange: () => change({ [key]: box.value }) },
    choices.map(([value, name]) => h("option", { value }, name)));
  return h("div", null, h("label", { class: "label", for: `filter-${key}` }, label), Object.assign(box, { id: `filter-${key}` }));
}

function counted(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || String(a[0]).localeCompare(String(b[0])));
}

function buildFilters() {
  const tasks = counted(heads.flatMap((head) => head.tasks));
  const splits = counted(heads.map((head) => head.split));
  const reasons = counted(heads.flatMap((head) => head.reasons));
  const scores = [...new Set(heads.flatMap((head) => Object.keys(head.scores)))].sort();
  const search = h("input", { type: "search", id: "filter-q", placeholder: "words, or \"a phrase\"", autocomplete: "off",
    oninput: () => { clearTimeout(typing); typing = setTimeout(() => change({ q: search.value }), 180); } });
  const bound = (key, name) => h("input", { type: "number", step: "any", id: `filter-${key}`, placeholder: name, "aria-label": `${name} of the score`,
    onchange: (event) => change({ [key]: event.target.value }) });
  append(document.getElementById("filters"), [h("details", { open: innerWidth > 900, id: "filter-box" },
    h("summary", null, "Filters"),
    h("div", { style: { display: "grid", gap: ".8rem", "margin-top": ".5rem" } },
      h("div", null, h("label", { class: "label", for: "filter-q" }, "Search"), search),
      reasons.length ? select("state", "Show", [["kept", "kept"], ["rejected", "rejected"], ["all", "kept and rejected"]]) : null,
      reasons.length ? select("reason", "Reason", [["", "any"], ...reasons.map(([name, n]) => [name, `${spoken(name)} (${number(n)})`])]) : null,
      tasks.length > 1 ? h("fieldset", { id: "filter-tasks" }, h("legend", null, HEAD.figures.dataset === "realign" ? "Task" : "Dimension"),
        tasks.map(([name]) => h("label", null, h("input", { type: "checkbox", value: name, onchange: pickTasks }), spoken(name),
          h("span", { class: "n", "data-task": name })))) : null,
      splits.length > 1 ? select("split", "Split", [["", "any"], ...splits.map(([name, n]) => [name, `${name} (${number(n)})`])]) : null,
      scores.length ? h("div", null, select("score", "Score", [["", "any"], ...scores.map((name) => [name, spoken(name)])]),
        h("div", { class: "range" }, bound("min", "least"), h("span", null, "to"), bound("max", "most"))) : null,
      scores.length ? select("sort", "Order", [["", "mixed"], ["up", "by that score, lowest first"], ["down", "by that score, highest first"]]) : null,
      h("button", { type: "button", onclick: reset }, "Reset")))]);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
}

function pickTasks() {
  change({ tasks: [...document.querySelectorAll("#filter-tasks input:checked")].map((box) => box.value) });
}

function change(what) {
  clearTimeout(typing);
  wanted = { ...wanted, id: "", ...what };
  if (what.reason && wanted.state === "kept") wanted.state = "rejected";
  if (what.state === "kept") wanted.reason = "";
  const scores = heads.length ? document.getElementById("filter-score") : null;
  if ((what.min || what.max || what.sort) && !wanted.score && scores) wanted.score = (scores.options[1] || {}).value || "";
  mirror();
  refresh();
}

function reset() {
  clearTimeout(typing);
  wanted = { ...EMPTY };
  mirror();
  refresh();
}

/* The controls show the state, wherever it came from. */
function mirror() {
  for (const key of ["q", "state", "split", "reason", "score", "min", "max", "sort"]) {
    const box = document.getElementById(`filter-${key}`);
    if (box && box !== document.activeElement) box.value = wanted[key];
  }
  for (const box of document.querySelectorAll("#filter-tasks input")) box.checked = wanted.tasks.includes(box.value);
  const counts = new Map(counted(heads.filter((head) => wanted.state === "all" || head.state === wanted.state).flatMap((head) => head.tasks)));
  for (const box of document.querySelectorAll("#filter-tasks [data-task]")) box.textContent = number(counts.get(box.dataset.task) || 0);
}

function jump(what) {
  change({ ...EMPTY, ...what });
  document.getElementById("samples").scrollIntoView();
}

function step(by) {
  const cards = document.getElementById("cards").children;
  if (!cards.length) return;
  focused = Math.max(0, Math.min(cards.length - 1, focused + by));
  cards[focused].focus({ preventScroll: true });
  cards[focused].scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  const dialog = document.getElementById("help");
  const field = event.target.closest && event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (field) {
    if (event.key === "Escape") field.blur();
    if (field.type !== "checkbox" && field.type !== "range") return;
  }
  const keys = {
    "/": () => { document.getElementById("filter-box").open = true; document.getElementById("filter-q").focus(); },
    "?": () => dialog.showModal(), j: () => step(1), k: () => step(-1),
    n: () => turn(page + 1), p: () => turn(page - 1), r: reset,
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});

document.getElementById("help-button").addEventListener("click", () => document.getElementById("help").showModal());
addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#?")) return;
  page = recall();
  mirror();
  refresh(true);
});

document.getElementById("summary").textContent =
  `${number(HEAD.figures.counts.kept)} kept of ${number(HEAD.figures.counts.planned)} planned`;
overview(HEAD.figures, HEAD.diversity, {
  reason: (reason) => jump({ reason, state: "rejected" }),
  task: (task) => jump({ tasks: [task] }),
  score: (score, min, max) => jump({ score, min: String(min), max: String(max), state: "all" }),
});
buildFilters();
page = recall();
mirror();
refresh(true);
document.documentElement.dataset.ready = "yes";

/* Follows the pictures: how many of them are not those that the index tells of. */
function damage() {
  const names = data("damaged"), n = names.length;
  if (!n) return;
  const said = `${number(n)} ${n === 1 ? "picture is" : "pictures are"} not what the index says, and left out (${names.slice(0, 3).join(", ")}${n > 3 ? ", ..." : ""}); run verify.`;
  append(document.getElementById("notices"), [h("p", { class: "warning" }, said)]);
}
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", damage);
else damage();

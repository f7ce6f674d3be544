"use strict";
/* The overview: every number is of the whole output, shown below or not. */

function chart(title, ...content) {
  return h("section", { class: "chart" }, h("h3", null, title), content);
}

function bars(rows) {
  const most = Math.max(1, ...rows.map((row) => row.parts.reduce((sum, part) => sum + part.n, 0)));
  return h("div", { class: "bars" }, rows.map((row) => [
    row.act ? h("button", { type: "button", class: "name", onclick: row.act, title: row.title }, row.name)
      : h("span", { class: "name", title: row.title }, row.name),
    h("span", { class: "track", "aria-hidden": "true" },
      row.parts.map((part) => h("i", { class: part.kind, style: { width: `${(100 * part.n) / most}%` } }))),
    h("span", { class: "n" }, row.said),
  ]));
}

const legend = (...items) => h("p", { class: "legend" }, items.map(([kind, name]) => h("span", null, h("i", { class: kind }), name)));

function table(head, rows) {
  return h("div", { class: "scroll" }, h("table", null,
    h("thead", null, h("tr", null, head.map((name, i) => h("th", { class: i && "n", scope: "col" }, name)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, i) => h("td", { class: i && "n" }, cell)))))));
}

function histogram(found, pick) {
  const bins = found.kept.length, top = Math.max(1, ...found.kept.map((n, i) => n + found.rejected[i]));
  const low = found.edges[0], span = found.edges[bins] - low, width = 300 / bins, high = 100;
  const shapes = found.kept.map((kept, i) => {
    const rejected = found.rejected[i], k = (high * kept) / top, r = (high * rejected) / top, x = i * width + 0.5;
    const from = found.edges[i], to = found.edges[i + 1];
    const label = found.whole ? number((from + to) / 2) : `${number(from)} to ${number(to)}`;
    return [
      svg("rect", { class: "k", x, y: high - k, width: width - 1, height: k }),
      svg("rect", { class: "r", x, y: high - k - r, width: width - 1, height: r }),
      svg("rect", { class: "b", x: i * width, y: 0, width, height: high, onclick: () => pick(found.name, from, to) },
        svg("title", null, `${label}: ${number(kept)} kept${rejected ? `, ${number(rejected)} rejected` : ""}`)),
    ];
  });
  /* A limit that nothing is near stands at the edge beyond which it is. */
  const beyond = (mark) => (mark.at < low ? ", further left" : mark.at > low + span ? ", further right" : "");
  const marks = found.marks.map((mark) => {
    const x = Math.min(299, Math.max(1, (300 * (mark.at - low)) / span));
    return svg("line", { class: beyond(mark) && "beyond", x1: x, x2: x, y1: 0, y2: high },
      svg("title", null, `${mark.name}: ${mark.at}${beyond(mark)}`));
  });
  const rejected = found.rejected.some((n) => n), mean = found.mean === null ? null : number(found.mean);
  const label = `Histogram of ${spoken(found.name)}: ${mean === null ? "only rejected samples have it" : `mean of the kept ${mean}`}`;
  return chart(spoken(found.name),
    svg("svg", { class: "histogram", viewBox: "0 0 300 102", preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("line", { class: "base", x1: 0, x2: 300, y1: 101, y2: 101 }), shapes, marks),
    found.whole ? h("div", { class: "axis", style: { "justify-content": "space-around" } },
      found.kept.map((_, i) => h("span", null, number((found.edges[i] + found.edges[i + 1]) / 2))))
      : h("div", { class: "axis" }, h("span", null, number(low)), h("span", null, mean === null ? "none of the kept" : `mean ${mean}`),
        h("span", null, number(found.edges[bins]))),
    legend(...(mean === null ? [] : [["kept", "kept"]]), ...(rejected ? [["lost", "rejected"]] : []),
      ...found.marks.map((mark) => ["mark", `${mark.name} ${mark.at}${beyond(mark)}`])));
}

function balanceCharts(balance) {
  return Object.entries(balance).map(([dimension, found]) => {
    const scores = Object.keys(found.before).sort((a, b) => a - b);
    const total = (side) => scores.reduce((sum, score) => sum + (found[side][score] || 0), 0);
    const rows = scores.flatMap((score) => ["before", "after"].map((side) => ({
      name: side === "before" ? `score ${score}` : "",
      parts: [{ kind: side === "before" ? "before" : "kept", n: found[side][score] || 0 }],
      said: number(found[side][score] || 0),
    })));
    return chart(`Balance of ${spoken(dimension)}`, bars(rows),
      legend(["before", `all ${number(total("before"))} rows`], ["kept", `${number(total("after"))} balanced`]));
  });
}

function diversityCharts(found) {
  const rows = [["instructions", "Instructions"], ["captions", "Captions"], ["answers", "Reasonings"]]
    .filter(([key]) => found[key])
    .map(([key, name]) => [name, number(found[key].texts), percent(found[key].different / Math.max(1, found[key].texts)),
      ...found[key].distinct.map((share) => number(share, 4))]);
  const made = [];
  if (rows.length) {
    made.push(chart("Diversity of texts", table(["", "texts", "differ", "distinct-1", "-2", "-3"], rows),
      h("small", null, `Different n-grams over n-grams, of ${many(found.records, "record")}; falls as they grow in number.`)));
  }
  const verbs = found.verbs;
  if (verbs && verbs.pairs) {
    made.push(chart("Verbs and objects", bars(verbs.top.map(([name, n]) => ({ name, parts: [{ kind: "kept", n }], said: number(n) }))),
      h("small", null, `${many(verbs.pairs, "pair")} of ${many(verbs.verbs, "verb")}, found by rule in ${percent(verbs.recognised)} of the instructions (English).`)));
  }
  const cots = found.reasonings;
  if (cots && cots.samples) {
    const last = cots.histogram.length;
    made.push(chart("Distance between the reasonings of a sample", bars(cots.histogram.map((n, i) => ({
      name: `${number(i / last)}–${number((i + 1) / last)}`, parts: [{ kind: "kept", n }], said: number(n) }))),
      h("small", null, `Mean ${number(cots.mean)}: 1 − Jaccard of word pairs, 0 being equal. ${percent(cots.repeated)} of ${many(cots.draws, "draw")} repeat another.`)));
  }
  return made;
}

function overview(figures, diversity, act) {
  const counts = figures.counts, usd = figures.usage.reduce((sum, used) => sum + used.usd, 0);
  const calls = figures.usage.reduce((sum, used) => sum + used.calls, 0);
  const tiles = [
    [number(counts.planned), "planned"],
    [number(counts.kept), `kept (${percent(counts.kept / Math.max(1, counts.planned))})`],
    [number(counts.rejected), "rejected"],
    [number(calls), calls === 1 ? "call to a model" : "calls to models"],
    [dollars(usd), counts.kept && usd ? `spent; ${dollars(usd / counts.kept)} per kept` : "spent"],
    ...(figures.splits.length > 1 ? figures.splits.map((split) => [number(split.kept), `kept in ${split.name}`]) : []),
  ];
  append(document.getElementById("tiles"), tiles.map(([said, name]) => h("div", { class: "tile" }, h("b", null, said), h("span", null, name))));
  const notices = [];
  if (figures.missing) notices.push(`This run is not finished: ${figures.missing}. The numbers are of what is there.`);
  for (const [name, note] of Object.entries(figures.notes || {})) notices.push(`${name}: ${typeof note === "string" ? note : JSON.stringify(note)}`);
  append(document.getElementById("notices"), notices.map((note) => h("p", { class: "warning" }, note)));

  const made = [];
  if (counts.rejected) {
    made.push(chart("From planned to kept", bars(figures.funnel.map((step) => ({
      name: step.name, parts: [{ kind: "kept", n: step.left }, { kind: "lost", n: step.lost }],
      said: step.lost ? `${number(step.left)} (−${number(step.lost)})` : number(step.left) }))),
      legend(["kept", "left"], ["lost", "rejected here"])));
    made.push(chart("Rejections by reason", bars(figures.reasons.map((one) => ({
      name: spoken(one.reason), title: `${one.stage}: show them`, parts: [{ kind: "lost", n: one.count }],
      said: number(one.count), act: () => act.reason(one.reason) })))));
  }
  made.push(chart(figures.dataset === "realign" ? "Tasks" : "Dimensions", bars(figures.tasks.map((task) => ({
    name: spoken(task.name), parts: [{ kind: "kept", n: task.kept }, { kind: "lost", n: task.rejected }],
    said: task.rejected ? `${number(task.kept)} (−${number(task.rejected)})` : number(task.kept), act: () => act.task(task.name) }))),
    legend(["kept", "kept"], ...(counts.rejected ? [["lost", "rejected"]] : []))));
  made.push(...figures.scores.filter((found) => found.leading).map((found) => histogram(found, act.score)));
  made.push(...balanceCharts(figures.balance));
  made.push(...diversityCharts(diversity));
  const cost = chart("Cost by model", table(["model (roles)", "calls", "from ledger", "tokens in", "tokens out", "spent", "per kept"],
    figures.usage.map((used) => [used.roles.length ? `${used.model} (${used.roles.join(", ")})` : used.model, number(used.calls),
      number(used.ledger_hits), number(used.tokens_in), number(used.tokens_out), dollars(used.usd), dollars(used.usd_per_kept)])));
  if (figures.lost.length) {
    append(cost, [h("h3", null, "Spent on what was rejected, by stage"),
      table(["stage", "spent"], figures.lost.map((one) => [one.stage, dollars(one.usd)]))]);
  }
  cost.classList.add("wide");
  if (figures.usage.length) made.push(cost);
  const others = figures.scores.filter((found) => !found.leading);
  if (others.length) {
    made.push(h("details", null, h("summary", null, `${many(others.length, "more score")}: ${others.map((found) => spoken(found.name)).join(", ")}`),
      h("div", { class: "charts" }, others.map((found) => histogram(found, act.score)))));
  }
  append(document.getElementById("charts"), made);
}

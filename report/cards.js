"use strict";
/* One card for each entry: a Re-Align sample, an edit pair, an image of a prompt, or a rejection. */

function card(head, detail, place) {
  const rejected = detail.rejected;
  const body = detail.asked ? editBody(detail) : detail.prompt !== undefined && detail.image !== undefined ? imageBody(detail)
    : sampleBody(detail);
  return h("article", { class: `card ${head.state}`, tabindex: "-1", "aria-label": `Entry ${place}`, "data-id": head.id },
    h("header", null,
      detail.asked || detail.following || detail.quality ? null : head.tasks.map((task) => h("span", { class: "chip strong" }, spoken(task))),
      detail.subtype ? h("span", { class: "chip" }, spoken(detail.subtype)) : null,
      rejected ? h("span", { class: "chip lost" }, `rejected: ${spoken(rejected.reason)}`) : null,
      detail.input ? h("span", { class: "chip" }, detail.input) : null,
      h("span", { class: "chip" }, head.split),
      detail.stress && detail.stress !== "none" ? h("span", { class: "chip" }, `stress: ${detail.stress}`) : null,
      h("a", { class: "id", href: `#?id=${encodeURIComponent(head.id)}`, title: "This entry alone" }, head.id)),
    rejected ? why(rejected) : null,
    body,
    detail.asked || detail.following || detail.quality ? null : scoreLine(head.scores),
    about(detail));
}

const AGAIN = ["retryable", "repairable"];

function why(rejected) {
  return h("div", { class: "why" },
    h("p", { class: "text" }, h("b", null, `${rejected.stage}: ${spoken(rejected.reason)}`),
      rejected.detail ? ` – ${rejected.detail}` : "",
      AGAIN.includes(rejected.class) ? " (plumbline rejects --retry asks again)" : ""),
    rejected.answer ? h("details", null, h("summary", null, "The model's last answer"), text(rejected.answer)) : null);
}

function scoreLine(scores) {
  const found = Object.entries(scores);
  if (!found.length) return null;
  return h("p", { class: "scores" }, found.map(([name, values]) =>
    h("span", null, `${spoken(name)} `, h("b", null, values.map((value) => number(value, name === "sharpness" || Math.abs(value) >= 10 ? 1 : 4)).join(", ")))));
}

function about(detail) {
  const rows = Object.entries(detail.provenance || {});
  const wording = Object.entries(detail.wording || {}).map(([key, said]) => `${key} ${spoken(said)}`).join(" · ");
  const references = (detail.references || []).filter((r) => r.attribution || r.license);
  if (!rows.length && !detail.tar) return null;
  return h("details", null, h("summary", null, "Where it comes from"),
    wording ? h("p", null, `Wording: ${wording}`) : null,
    detail.prompt !== undefined && detail.references ? text(`Interleaved prompt: ${detail.prompt}`) : null,
    rows.length ? table(["role", "model", "prompt"], rows.map(([role, s]) => [
      s.note ? `${spoken(role)} (${s.note})` : spoken(role), s.model, s.prompt])) : null,
    references.length ? h("ul", null, references.map((r, i) =>
      h("li", null, `image_${i + 1}: ${[r.source_id, r.license, r.attribution].filter(Boolean).join(" · ")}`))) : null,
    detail.tar ? h("p", null, detail.tar) : null);
}

/* Re-Align */
function sampleBody(detail) {
  const references = detail.references || [], cots = detail.reasonings || [];
  const shots = references.map((r, i) => h("figure", { class: "shot" }, shot(r.picture, r.caption),
    h("figcaption", null, h("b", null, `image_${i + 1} · ${r.role}`), ` ${r.kind}: `, folded(r.caption, 240, 160))));
  return [
    detail.instruction ? text(detail.instruction, { class: "instruction" }) : null,
    references.length ? h("div", { class: "strip" }, shots, h("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      h("figure", { class: "shot target" }, shot(detail.target, "the target", detail.rejected ? "a rejected target is not in the output" : ""),
        h("figcaption", null, h("b", null, "target"))),
      (detail.others || []).map((other) => h("figure", { class: "shot" }, shot(other.picture, "a target not chosen"),
        h("figcaption", null, h("b", null, "not chosen"), other.reason ? `: ${spoken(other.reason)}` : "")))) : null,
    cots.length ? h("div", { class: "cots" }, cots.map((cot, i) => reasoning(cot, i, cots.length, detail))) : null,
  ];
}

function reasoning(cot, i, of, detail) {
  const numbers = [
    cot.clip_text !== undefined ? `CLIP ${number(cot.clip_text)}` : "",
    cot.relation_margin !== undefined ? `margin ${number(cot.relation_margin)}` : "",
    cot.draws > 1 ? `drawn ${cot.draws} times` : "",
  ].filter(Boolean).join(" · ");
  return h("section", { class: "cot" }, h("h4", null, `IC-CoT ${i + 1} of ${of}`, h("span", null, numbers)),
    cot.text ? text(cot.text) : [
      h("div", { class: "said caption" }, shot(detail.target, "", "target"), h("div", null, h("small", null, "out_caption"), text(cot.caption))),
      cot.relations.map((relation, k) => h("div", { class: "said" },
        shot(((detail.references || [])[k] || {}).picture, "", String(k + 1)),
        h("div", null, h("small", null, `relation_${k + 1}`), text(relation))))]);
}

/* FIRM-Edit */
const badge = (score) => h("span", { class: `score s${Math.round(score)}`, title: "of 5" }, number(score, 1));

function verdict(name, judged) {
  return h("div", { class: "verdict" }, badge(judged.score), h("div", null, h("h4", null, spoken(name)), text(judged.reasoning)));
}

function editBody(detail) {
  const order = ["execution", "consistency"];
  return h("div", { class: "edit" },
    h("div", null, slider(detail.before, detail.after),
      h("div", { class: "report" }, detail.report.filter((part) => part.text).map((part) => [h("h4", null, part.name), text(part.text)]))),
    h("div", null,
      detail.asked.map((one) => h("section", { class: "asked" },
        text(one.instruction, { class: "instruction" }),
        one.rewrite ? h("p", { class: "original" }, `rewritten: ${spoken(one.rewrite)}`) : null,
        h("div", { class: "judged" }, Object.keys(one.judged).sort((a, b) => order.indexOf(a) - order.indexOf(b))
          .map((name) => verdict(name, one.judged[name])))))));
}

function slider(before, after) {
  if (before < 0 || after < 0) return h("div", { class: "two" }, shot(before, "before"), shot(after, "after"));
  const first = shot(before, "before the edit"), second = shot(after, "after the edit");
  if (first.tagName !== "IMG" || second.tagName !== "IMG") return h("div", { class: "two" }, first, second);
  second.classList.add("after");
  const box = h("div", { class: "slider" });
  const range = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after: where the edge stands",
    oninput: () => box.style.setProperty("--at", `${range.value}%`) });
  append(box, [first, second, h("span", { class: "edge" }), h("span", { class: "tag l" }, "before"), h("span", { class: "tag r" }, "after"), range]);
  const holder = h("div", null, box);
  const compare = () => {
    if (!first.naturalWidth || !second.naturalWidth || holder.children.length > 1) return;
    const ratio = (first.naturalWidth / first.naturalHeight) / (second.naturalWidth / second.naturalHeight);
    if (Math.abs(Math.log(ratio)) < 0.03) return;
    holder.append(h("div", { class: "two" }, first.cloneNode(), h("img", { src: second.src, alt: "after the edit" })),
      h("p", { class: "legend" }, "The two differ in shape."));
  };
  first.addEventListener("load", compare);
  second.addEventListener("load", compare);
  return holder;
}

/* FIRM-Gen */
const MARKS = { met: ["✓", "met"], "partly met": ["◐", "partly"], "not met": ["✕", "not"] };

function imageBody(detail) {
  const following = detail.following, quality = detail.quality;
  return h("div", { class: "image" },
    h("figure", null, shot(detail.image, detail.prompt.slice(0, 200)), detail.painting ? h("figcaption", null, `image ${detail.painting + 1} of this prompt`) : null),
    h("div", null,
      text(detail.prompt, { class: "instruction" }),
      h("div", { class: "judged" },
        following ? verdict("instruction following", following) : null,
        quality ? h("div", { class: "verdict" }, badge(quality.score), h("div", null, h("h4", null, "quality"), text(quality.reasoning), aspects(quality.aspects))) : null),
      following && following.criteria.length ? h("ul", { class: "checklist" }, following.criteria.map((one) => {
        const [sign, kind] = MARKS[one.mark] || ["·", ""];
        return h("li", null, h("span", { class: `m ${kind}` }, `${sign} ${one.mark || "no mark"}`),
          h("div", null, h("b", null, one.name), one.questions.map((question) => h("p", null, question))));
      })) : following && following.text ? text(following.text) : null,
      following && following.answer ? h("details", null, h("summary", null, "The judge's whole answer, as a student learns it"), text(following.answer)) : null));
}

function aspects(found) {
  const names = Object.keys(found);
  if (!names.length) return null;
  return h("div", { class: "aspects" }, names.map((name) => [h("span", null, name),
    h("span", { class: "track", "aria-hidden": "true" }, h("i", { class: "kept", style: { width: `${20 * found[name]}%` } })),
    h("span", null, number(found[name], 1))]));
}

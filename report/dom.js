"use strict";
/* Elements are made and filled as text, never from markup: what a sample says stays text. */

function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, said] of Object.entries(value)) element.style.setProperty(name, said);
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false && child !== "") element.append(child);
  }
  return element;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  return append(element, children);
}

const data = (id) => JSON.parse(document.getElementById(id).textContent);
const number = (value, digits) =>
  typeof value !== "number" ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits ?? (Math.abs(value) >= 100 ? 0 : 3) });
const many = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${number(100 * share, 1)} %`);
const dollars = (usd) => (usd > 0 && usd < 0.01 ? `$${usd.toPrecision(2)}` : `$${number(usd, 2)}`);
const spoken = (word) => String(word).replaceAll("_", " ");

/* Long texts are shown in part, with a button for the rest. */
const LONG = 700, SHORT = 500;
function text(said, attributes) {
  return h("p", { ...attributes, class: `text ${(attributes || {}).class || ""}`, dir: "auto" }, folded(said, LONG, SHORT));
}
function folded(said, long, short) {
  if (said.length <= long) return said;
  const shown = h("span", null, said.slice(0, short) + "…");
  const more = h("button", { type: "button", class: "more", onclick: () => { shown.textContent = said; more.remove(); } },
    `show all ${number(said.length)} characters`);
  return [shown, more];
}

/* Pictures lie in blocks of base64 lines behind the script; those not yet there are filled in when they are. */
const blocks = new Map();
const awaited = [];
function source(picture) {
  const size = HEAD.block, block = Math.floor(picture / size);
  if (!blocks.has(block)) {
    const element = document.getElementById(`pictures-${block}`);
    const whole = element && (document.readyState !== "loading" || document.getElementById(`pictures-${block + 1}`));
    if (!whole) return document.readyState === "loading" ? null : "";
    if (blocks.size > 24) blocks.delete(blocks.keys().next().value);
    blocks.set(block, element.textContent.trim().split("\n"));
  }
  const found = blocks.get(block)[picture % size];
  return found && found !== "-" ? `data:image/jpeg;base64,${found}` : "";
}

function fill() {
  for (const [image, picture] of awaited.splice(0)) {
    if (!image.isConnected) continue;
    const found = source(picture);
    if (found === null) awaited.push([image, picture]);
    else if (found) image.src = found;
    else image.replaceWith(blank("unreadable"));
  }
  if (awaited.length) setTimeout(fill, 25);
}

const blank = (why) => h("div", { class: "blank" }, why);
function shot(picture, alt, why) {
  if (picture === undefined || picture < 0) return blank(why || "not in the output");
  const found = source(picture);
  if (found === "") return blank("unreadable");
  const image = h("img", { alt: alt || "", decoding: "async" });
  if (found) image.src = found;
  else if (awaited.push([image, picture]) === 1) setTimeout(fill, 25);
  return image;
}

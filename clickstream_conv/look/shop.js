// The demo shop: what is clicked is sent to the service, and what it answers is shown beside the shop.
import { Tracker } from "./tracker.js";

const $ = (id) => document.getElementById(id);
const goods = await (await fetch("demo/goods.json")).json();
const model = await (await fetch("v1/model")).json();
const byId = new Map(goods.items.map((item) => [item.item_id, item]));
const money = (value) => value.toFixed(2);
const percent = (p) => `${(100 * p).toFixed(1)}%`;
const SHOWN = 12; // items of a list

const ABOUT = { // status: what it means for who reads the answer
  "between landmarks": "The model was trained after fewer events and after more, not after these: probability and revenue lie between, and flag nobody.",
  "beyond landmarks": "The model was not trained after so many events, neither for the probability nor for the revenue, and the answer flags nobody.",
};

let who, basket, path;

const tracker = new Tracker({ ask: "?reasons=true", onAnswer: show, onProblem: complain });

// What a log holds of every event of the visit; the event itself says the rest.
const nothing = { item_id: null, category: null, price: null, quantity: 1 };
const track = (event, page, item) => {
  const of = item ? { item_id: item.item_id, category: item.category, price: item.price } : {};
  return tracker.send({ event, page, ...nothing, ...of, ...who });
};

// ---------------------------------------------------------------- the shop

function make(kind, what = {}, ...inside) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(what)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}

function picture(item) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const hue = (goods.categories.indexOf(item.category) * 51) % 360;
  const turn = Number(item.item_id.slice(1)) % 4;
  svg.setAttribute("viewBox", "0 0 120 90");
  svg.setAttribute("class", "picture");
  svg.setAttribute("aria-hidden", "true");
  const shapes = [
    '<circle cx="60" cy="45" r="24"/>',
    '<rect x="36" y="21" width="48" height="48" rx="6"/>',
    '<path d="M60 18 88 70H32Z"/>',
    '<path d="M40 24h40v14H40zM46 38h28l6 30H40z"/>',
  ];
  svg.innerHTML = `<rect width="120" height="90" fill="hsl(${hue} 45% 90%)"/><g fill="hsl(${hue} 45% 45%)">${shapes[turn]}</g>`;
  return svg;
}

const title = (item) => `${item.category} ${item.item_id}`;

function list(items) {
  return make("ul", { class: "goods" }, ...items.map((item) => make("li", {}, make("a", { href: `#item/${item.item_id}` },
    picture(item), make("span", {}, item.item_id, make("b", {}, money(item.price)))))));
}

const pages = {
  home() {
    track("view", "home");
    const some = goods.categories.map((category) => goods.items.find((item) => item.category === category));
    return [make("h1", {}, "Welcome"), list(some)];
  },
  list(category) {
    track("view", "listing", { item_id: null, category, price: null });
    return [make("h1", {}, category), list(goods.items.filter((item) => item.category === category).slice(0, 2 * SHOWN))];
  },
  search(words) {
    track("view", "search");
    const found = goods.items.filter((item) => title(item).toLowerCase().includes(words.toLowerCase())).slice(0, SHOWN);
    return [make("h1", {}, found.length ? `Found for “${words}”` : `Nothing is called “${words}”`), list(found)];
  },
  item(id) {
    const item = byId.get(id);
    track("view", "product", item);
    const add = () => { basket.push(item); track("cart", "product", item); drawBasket(); };
    return [make("div", { class: "product" }, picture(item), make("div", {}, make("h1", {}, title(item)),
      make("p", { class: "price" }, money(item.price)),
      make("button", { class: "main", onclick: add }, "Put into the basket")))];
  },
  basket() { // looking at it is no event of this shop's log
    if (!basket.length) return [make("h1", {}, "The basket is empty")];
    const rows = basket.map((item, place) => make("tr", {}, make("td", {}, title(item)), make("td", { class: "sum" }, money(item.price)),
      make("td", {}, make("button", { onclick: () => { basket.splice(place, 1); track("remove", "basket", item); drawBasket(); go(); } }, "Remove"))));
    return [make("h1", {}, "Basket"), make("table", {}, ...rows),
      make("button", { class: "main", onclick: () => { location.hash = "checkout"; } }, "To the checkout")];
  },
  checkout() {
    track("checkout", "checkout");
    const sum = basket.reduce((total, item) => total + item.price, 0);
    const pay = () => { for (const item of basket.splice(0)) track("purchase", "confirmation", item); drawBasket(); location.hash = "thanks"; };
    return [make("h1", {}, "Checkout"), make("p", { class: "price" }, `${basket.length} in the basket, ${money(sum)}`),
      make("button", { class: "main", onclick: pay }, "Pay")];
  },
  thanks() {
    return [make("h1", {}, "Thank you"), make("p", {}, "This visit has bought, so there is nothing left to predict. Begin a new one.")];
  },
};

function drawBasket() {
  $("pieces").textContent = basket.length;
}

function go() {
  const [page, ...rest] = decodeURIComponent(location.hash.slice(1) || "home").split("/");
  const known = page in pages && (page !== "item" || byId.has(rest[0])) && (page !== "checkout" || basket.length);
  $("shop").replaceChildren(...(known ? pages[page](rest.join("/")) : pages.basket()));
  for (const link of $("categories").children) link.toggleAttribute("aria-current", link.hash === location.hash);
}

// ---------------------------------------------------------------- what the model says

function complain(problem) {
  $("problem").textContent = `${problem.title}: ${problem.detail}`;
  $("problem").hidden = false;
}

function show(said, event) {
  $("problem").hidden = true;
  path.push(said);
  const p = said.probability;
  $("chance").textContent = p === null ? "–" : percent(p);
  $("chance-words").textContent = p === null ? said.status : "that it buys";
  $("seen").classList.toggle("flagged", Boolean(said.flagged));
  const amount = said.revenue;
  $("worth-words").hidden = amount == null;
  $("worth").textContent = amount == null ? "–" : `${money(amount)} (${money(said.revenue_low)} to ${money(said.revenue_high)})`;
  $("segment").textContent = said.segment ?? (p === null ? "–" : "not known yet");
  $("flag").textContent = said.flagged ? `since event ${said.flagged_at}` : `no; the threshold is ${percent(model.threshold)}`;
  const why = said.why?.reasons ?? [];
  $("reasons").replaceChildren(...why.map((one) => make("li", {}, make("span", {}, one.reason),
    make("b", {}, `${one.contribution < 0 ? "−" : "+"}${Math.abs(one.contribution).toFixed(2)}`))));
  if (!why.length) $("reasons").append(make("li", {}, said.why?.problem?.detail ?? "nothing is left to predict"));
  const doubt = ABOUT[said.status] ?? "";
  $("notes").textContent = [doubt, said.notes].filter(Boolean).join(" ");
  $("events").append(make("li", {}, [event.event, event.page, event.item_id ?? event.category].filter(Boolean).join(", ")));
  $("count").textContent = path.length;
  draw();
}

function draw() {
  const points = path.map((one, place) => [place, one.probability]).filter(([, p]) => p !== null);
  const top = Math.max(model.threshold, ...points.map(([, p]) => p)) * 1.15;
  const x = (place) => 30 + (280 * place) / Math.max(path.length - 1, 5);
  const y = (p) => 105 - (95 * p) / top;
  const at = points.map(([place, p]) => `${x(place).toFixed(1)},${y(p).toFixed(1)}`);
  const dots = points.map(([place, p]) => `<circle class="${path[place].flagged ? "dot flag" : "dot"}" cx="${x(place)}" cy="${y(p)}" r="3.5"/>`);
  const line = y(model.threshold);
  $("line").innerHTML = `<line class="zero" x1="30" x2="315" y1="105" y2="105"/><line class="rule" x1="30" x2="315" y1="${line}" y2="${line}"/>
    <text x="0" y="${line + 3}">${(100 * model.threshold).toFixed(0)}%</text><text x="8" y="108">0%</text><text x="30" y="118">event 1</text>
    <polyline class="way" points="${at.join(" ")}"/>${dots.join("")}`;
  $("line").setAttribute("aria-label", `Probability after each event: ${points.map(([, p]) => percent(p)).join(", ")}`);
}

// ---------------------------------------------------------------- a visit

function begin() {
  who = Object.fromEntries(new FormData($("who")));
  basket = [];
  path = [];
  tracker.begin();
  $("events").replaceChildren();
  drawBasket();
  if (location.hash && location.hash !== "#home") location.hash = "home";
  else go();
}

for (const [name, words] of Object.entries(goods.context)) $("who").elements[name].append(...words.map((word) => make("option", {}, word)));
$("categories").append(...goods.categories.map((category) => make("a", { href: `#list/${category}` }, category)));
$("run").textContent = model.run;
if (model.fit_for_use !== true) {
  $("unfit").hidden = false;
  $("unfit").textContent = model.fit_for_use === false ? "This run's model is not fit for use: its figures are for looking at the page alone." : "Whether this run's model is fit for use was not judged.";
}
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = new FormData(event.target).get("words").trim();
  if (!words) return;
  if (location.hash === `#search/${encodeURIComponent(words)}`) go();
  else location.hash = `search/${encodeURIComponent(words)}`;
});
$("who").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
addEventListener("hashchange", () => { go(); $("shop").focus({ preventScroll: true }); scrollTo(0, 0); });
begin();

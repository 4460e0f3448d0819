// The storefront: a view on the public API, nothing more. Every read that follows a write waits for the write's token.
const main = document.querySelector("#main");
const state = { store: null, lang: localStorage.lang || "en", cart: localStorage.cart || null, token: null };

const escape = (text) => String(text ?? "").replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);
const money = (m) => m ? new Intl.NumberFormat(state.lang, { style: "currency", currency: m.currency }).format(m.amount / 10 ** m.exponent) : "–";

class Problem extends Error {
  constructor(body) { super(body.detail || body.title || "The shop did not answer."); this.body = body; }
}

async function call(method, path, body) {
  const headers = { Prefer: "wait=5" };
  if (body) headers["Content-Type"] = "application/json";
  if (state.token) headers["Consistency-Token"] = state.token;
  if (method === "POST") headers["Idempotency-Key"] = crypto.randomUUID();
  const response = await fetch("/v1" + path, { method, headers, body: body && JSON.stringify(body) });
  const written = response.headers.get("Consistency-Token");
  if (written) state.token = written;
  const read = response.headers.get("Read-Position");
  if (read) document.querySelector("#position").textContent = "as of position " + read;
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Problem(answer);
  return answer;
}

const colour = (text) => { let h = 0; for (const c of text) h = (h * 31 + c.codePointAt(0)) % 360; return `hsl(${h} 45% 35%)`; };
const swatch = (p) => p.media?.[0] ? `<img class="swatch" src="${escape(p.media[0].url)}" alt="${escape(p.media[0].alt)}" loading="lazy">`
  : `<div class="swatch" aria-hidden="true" style="background:${colour(p.handle)}">${escape([...p.title][0])}</div>`;
const show = (html) => { main.innerHTML = html; };
const fail = (error) => { show(`<p class="error" role="alert">${escape(error.message)}</p><p><a href="#/">Back to the shop</a></p>`); };

async function list(query) {
  const params = new URLSearchParams(query);
  params.set("facets", "brand,category,price"); params.set("lang", state.lang); params.set("limit", "24");
  const [found, tree] = await Promise.all([call("GET", "/products?" + params), call("GET", "/categories?lang=" + state.lang)]);
  const shown = Number(query.get("shown") || 0);
  // Who finds nothing is shown the way on: without the filters, or what others buy.
  const others = found.total ? [] : (await call("GET", `/products?sort=popular&in_stock=true&limit=8&lang=${state.lang}`)).items;
  const unfiltered = query.get("q") && [...query.keys()].some((name) => name !== "q" && name !== "sort") ? "#/?" + new URLSearchParams({ q: query.get("q") }) : "";
  const names = {};
  (function walk(nodes) { for (const n of nodes) { names[n.handle] = n.title; walk(n.children || []); } })(tree.items || []);
  // Values are separated by commas; one within a value is escaped.
  const chosen = (name) => [...(query.get(name) || "").matchAll(/(?:\\.|[^,\\])+/g)].map((found) => found[0].replace(/\\(.)/g, "$1"));
  const listed = (values) => values.map((value) => value.replace(/[\\,]/g, "\\$&")).join(",");
  const facet = (name, label, names = {}) => {
    const values = found.facets?.[name] || [];
    if (!values.length) return "";
    return `<fieldset><legend>${label}</legend>${values.slice(0, 12).map((v) =>
      `<label><span><input type="checkbox" data-facet="${name}" value="${escape(v.value)}" ${chosen(name).includes(v.value) ? "checked" : ""}> ${escape(names[v.value] || v.value)}</span><span class="soft">${v.count}</span></label>`).join("")}</fieldset>`;
  };
  // Ranges of prices with about as many products each; amounts are in minor units.
  const prices = (ranges) => {
    const { exponent, code: currency } = state.store.currencies[0], at = query.get("price_min") + "-" + query.get("price_max");
    if (!ranges?.length) return "";
    return `<fieldset><legend>Price</legend>${ranges.map((r) => {
      const [from, to] = r.value.split("-").map((amount) => money({ amount: Number(amount), currency, exponent }));
      return `<label><span><input type="checkbox" data-price="${r.value}" ${r.value === at ? "checked" : ""}> ${from} – ${to}</span><span class="soft">${r.count}</span></label>`;
    }).join("")}</fieldset>`;
  };
  const card = (p) => `<li class="card">${swatch(p)}<h3><a href="#/p/${escape(p.handle)}">${p.highlights?.title || escape(p.title)}</a></h3><span class="soft">${escape(p.brand)}</span>
    <span class="price">${money(p.price_from)}</span><span class="${p.in_stock ? "in" : "out"}">${p.in_stock ? "In stock" : "Sold out"}</span></li>`;
  show(`<h1 class="hidden">${escape(state.store.name)}</h1><div class="shelf"><aside aria-label="Filters">
    <fieldset><legend>Availability</legend><label><span><input type="checkbox" data-facet="in_stock" value="true" ${query.get("in_stock") ? "checked" : ""}> In stock</span></label></fieldset>
    ${facet("category", "Category", names)}${facet("brand", "Brand")}${prices(found.facets?.price)}</aside>
    <section><p class="soft" aria-live="polite">${found.total} products${found.did_you_mean ? ` · did you mean <a href="#/?q=${encodeURIComponent(found.did_you_mean)}">${escape(found.did_you_mean)}</a>?` : ""}${found.relaxed ? " · few have all the words, others follow" : ""}
    · sort <select id="sort" aria-label="Sort">${["relevance", "price_asc", "price_desc", "newest"].map((s) => `<option ${query.get("sort") === s ? "selected" : ""}>${s}</option>`).join("")}</select></p>
    <ul class="grid" id="found">${found.items.map(card).join("")}</ul>
    ${found.total ? "" : `<p>Nothing was found${unfiltered ? `; <a href="${unfiltered}">search without the filters</a>` : ""}.${others.length ? " What others buy:" : ""}</p><ul class="grid">${others.map(card).join("")}</ul>`}
    ${found.next_cursor ? `<p><a href="#/?${new URLSearchParams({ ...Object.fromEntries(query), cursor: found.next_cursor, shown: shown + found.items.length })}">More</a></p>` : ""}</section></div>`);
  const go = (name, value) => { const next = new URLSearchParams(query); next.delete("cursor"); next.delete("shown"); value ? next.set(name, value) : next.delete(name); location.hash = "#/?" + next; };
  main.querySelectorAll("[data-facet]").forEach((box) => box.addEventListener("change", () => {
    const name = box.dataset.facet;
    if (name === "category") return go(name, box.checked ? box.value : "");
    go(name, listed([...main.querySelectorAll(`[data-facet="${name}"]:checked`)].map((b) => b.value)));
  }));
  main.querySelectorAll("[data-price]").forEach((box) => box.addEventListener("change", () => {
    const next = new URLSearchParams(query), [from, to] = box.dataset.price.split("-");
    for (const name of ["cursor", "shown", "price_min", "price_max"]) next.delete(name);
    if (box.checked) { next.set("price_min", from); next.set("price_max", to); }
    location.hash = "#/?" + next;
  }));
  // What was chosen from a search; whether it is counted is of no matter to the shopper.
  if (found.query_id) main.querySelectorAll("#found .card a").forEach((link, place) => link.addEventListener("click", () => {
    const click = { query_id: found.query_id, product_id: found.items[place].id, position: shown + place + 1 };
    fetch("/v1/search-clicks", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(click), keepalive: true }).catch(() => {});
  }));
  main.querySelector("#sort").addEventListener("change", (event) => go("sort", event.target.value));
}

// What may be meant, while it is typed: what others look for, then products. An answer that comes late is not shown.
let typed = 0;
async function suggest(event) {
  const at = ++typed, q = event.target.value;
  await new Promise((done) => setTimeout(done, 120));
  if (at !== typed || !q.trim()) return;
  const found = await call("GET", `/suggest?q=${encodeURIComponent(q)}&lang=${state.lang}`).catch(() => null);
  if (at !== typed || !found) return;
  const texts = new Set([...found.queries, ...found.items.map((p) => p.title)]);
  document.querySelector("#suggestions").innerHTML = [...texts].map((text) => `<option value="${escape(text)}"></option>`).join("");
}

async function product(handle) {
  const p = await call("GET", `/products/${encodeURIComponent(handle)}?lang=${state.lang}`);
  const attributes = Array.isArray(p.attributes) ? p.attributes.map((a) => [a.key, a.value]) : Object.entries(p.attributes || {});
  show(`<article class="columns"><div>${swatch(p)}</div><div><h1>${escape(p.title)}</h1><p class="soft">${escape(p.brand)}</p><p>${escape(p.description)}</p>
    <form id="add" class="stack"><label>Choose <select name="sku">${p.variants.map((v) =>
      `<option value="${escape(v.sku || v.id)}" ${v.in_stock ? "" : "disabled"}>${escape(v.title || p.title)} · ${money(v.price)} · ${v.in_stock ? v.available + " in stock" : "sold out"}</option>`).join("")}</select></label>
    <label>Quantity <input name="quantity" type="number" min="1" max="999" value="1"></label>
    <button ${p.in_stock ? "" : "disabled"}>Add to cart</button></form><div id="said" role="status"></div>
    <table><tbody>${attributes.map(([k, v]) => `<tr><th>${escape(k)}</th><td>${escape(v)}</td></tr>`).join("")}</tbody></table></div></article>`);
  main.querySelector("#add").addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = main.querySelector("#said");
    try {
      if (!state.cart) {
        state.cart = (await call("POST", "/carts", { currency: state.store.currencies[0].code || state.store.currencies[0], country: "DE", language: state.lang })).id;
        localStorage.cart = state.cart;
      }
      const data = new FormData(event.target);
      const cart = await call("POST", `/carts/${state.cart}/lines`, { sku: data.get("sku"), quantity: Number(data.get("quantity")) });
      count(cart);
      said.innerHTML = `<p>Added. <a href="#/cart">Go to the cart</a></p>`;
    } catch (error) {
      if (error.body?.code === "cart_closed" || error.body?.code === "not_found") { forget(); }
      said.innerHTML = `<p class="error" role="alert">${escape(error.message)}</p>`;
    }
  });
}

function forget() { state.cart = null; delete localStorage.cart; count(null); }
function count(cart) { document.querySelector("#cart-link").textContent = cart?.lines?.length ? `Cart (${cart.lines.reduce((n, l) => n + l.quantity, 0)})` : "Cart"; }

const cards = `<label>Card <select name="token"><option value="tok_approve">Sandbox card that is approved</option><option value="tok_decline">Sandbox card that is declined</option><option value="tok_3ds">Sandbox card that asks you at its bank (3-D Secure)</option></select></label>`;

// The bank's page sends the shopper back to the shop's first page, which goes on to the order.
function goOn(order) {
  sessionStorage["order:" + order.id] = order.order_token;
  if (order.status === "confirmed") forget();
  const action = order.payments.map((p) => p.next_action).find(Boolean);
  if (action) { sessionStorage.returning = order.id; location.href = action.url; return; }
  if (location.hash === "#/order/" + order.id) orderPage(order.id); else location.hash = "#/order/" + order.id;
}

async function cartPage() {
  if (!state.cart) return show(`<h1>Cart</h1><p>Nothing in it yet. <a href="#/">Look around</a></p>`);
  const cart = await call("GET", `/carts/${state.cart}`);
  count(cart);
  if (cart.status === "completing" && sessionStorage["order:" + cart.order_id]) { location.hash = "#/order/" + cart.order_id; return; }
  if (cart.status !== "open" && cart.order_id) forget();
  const options = (await call("GET", `/carts/${cart.id}/shipping-options`)).items;
  const a = cart.contact?.shipping_address || {};
  const field = (name, label, value, type = "text") => `<label>${label} <input name="${name}" type="${type}" value="${escape(value)}" required></label>`;
  show(`<h1>Cart</h1><table><thead><tr><th>Product</th><th class="number">Unit</th><th class="number">Quantity</th><th class="number">Total</th><th></th></tr></thead><tbody>
    ${cart.lines.map((l) => `<tr><td>${escape(l.title)} <span class="soft">${escape(l.sku)}</span>${l.price_changed ? ' <span class="out">price changed</span>' : ""}</td><td class="number">${money(l.unit_price)}</td>
    <td class="number"><input aria-label="Quantity of ${escape(l.title)}" type="number" min="0" max="999" value="${l.quantity}" data-line="${l.line_id}" style="width:5rem"></td><td class="number">${money(l.total)}</td>
    <td><button class="plain" data-remove="${l.line_id}">Remove</button></td></tr>`).join("")}
    ${(cart.discounts || []).filter((d) => d.amount.amount).map((d) => `<tr><td colspan="3" class="number">${escape(d.title)}</td><td class="number">−${money(d.amount)}</td><td></td></tr>`).join("")}
    <tr><td colspan="3" class="number">Shipping</td><td class="number">${money(cart.totals.shipping)}</td><td></td></tr>
    <tr><td colspan="3" class="number">Tax ${cart.prices_include_tax ? "(included)" : ""}</td><td class="number">${money(cart.totals.tax)}</td><td></td></tr>
    <tr><th colspan="3" class="number">Total</th><th class="number" id="total">${money(cart.totals.total)}</th><td></td></tr></tbody></table>
    <form id="coupon" class="stack"><label>Coupon <input name="code" autocomplete="off" required></label><button class="plain">Apply</button><div id="coupon-said" role="status"></div></form>
    ${(cart.coupons || []).map((c) => `<p class="soft">${c.applied ? "A coupon takes off " + money(c.discount) : "A coupon does not apply: " + escape(String(c.reason).replaceAll("_", " "))} <button class="plain" data-coupon="${escape(c.coupon_id)}">Remove</button></p>`).join("")}
    <form id="checkout" class="stack"><h2>Checkout</h2>${field("email", "E-mail", cart.contact?.email, "email")}${field("name", "Name", a.name)}${field("line1", "Street and number", a.line1)}
    ${field("postal_code", "Postal code", a.postal_code)}${field("city", "City", a.city)}
    <label>Country <select name="country">${state.store.countries.map((c) => `<option ${c === (a.country || "DE") ? "selected" : ""}>${escape(c.code || c)}</option>`).join("")}</select></label>
    <label>Shipping <select name="option">${options.map((o) => `<option value="${escape(o.id)}" ${o.id === cart.shipping_option?.id ? "selected" : ""}>${escape(o.title)} · ${money(o.price)}</option>`).join("")}</select></label>
    ${cards}
    <div id="said" role="status"></div><button ${cart.lines.length ? "" : "disabled"}>Pay</button></form>`);
  const again = (promise) => promise.then(cartPage).catch((error) => { main.querySelector("#said").innerHTML = `<p class="error" role="alert">${escape(error.message)}</p>`; });
  main.querySelectorAll("[data-line]").forEach((i) => i.addEventListener("change", () => again(call("PATCH", `/carts/${cart.id}/lines/${i.dataset.line}`, { quantity: Number(i.value) }))));
  main.querySelector("#coupon").addEventListener("submit", (event) => {
    event.preventDefault();
    call("POST", `/carts/${cart.id}/coupons`, { code: event.target.code.value }).then(cartPage)
      .catch((error) => { main.querySelector("#coupon-said").innerHTML = `<p class="error" role="alert">${escape(error.message)}</p>`; });
  });
  main.querySelectorAll("[data-coupon]").forEach((b) => b.addEventListener("click", () => again(call("DELETE", `/carts/${cart.id}/coupons/${b.dataset.coupon}`))));
  main.querySelectorAll("[data-remove]").forEach((b) => b.addEventListener("click", () => again(call("DELETE", `/carts/${cart.id}/lines/${b.dataset.remove}`))));
  main.querySelector("#checkout").addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = main.querySelector("#said"), data = Object.fromEntries(new FormData(event.target));
    try {
      await call("PUT", `/carts/${cart.id}/contact`, { email: data.email, shipping_address: { name: data.name, line1: data.line1, postal_code: data.postal_code, city: data.city, country: data.country } });
      const now = await call("PUT", `/carts/${cart.id}/shipping-option`, { id: data.option });
      // Nobody pays what was not shown.
      if (now.totals.total.amount !== cart.totals.total.amount) {
        await cartPage();
        main.querySelector("[name=token]").value = data.token;
        main.querySelector("#said").innerHTML = `<p role="alert">With this address and delivery the total is ${money(now.totals.total)}. Press Pay to agree.</p>`;
        return;
      }
      const payment = { provider: "sandbox", token: data.token };
      goOn(await call("POST", `/carts/${cart.id}/checkout`, { payment, expected_total: now.totals.total }));
    } catch (error) {
      const lines = (error.body?.lines || []).map((l) => `${l.sku}: ${l.available} left`).join(", ");
      said.innerHTML = `<p class="error" role="alert">${escape(error.message)} ${escape(lines)}</p>`;
    }
  });
}

let live = null;

async function orderPage(id) {
  const token = sessionStorage["order:" + id] || "";
  const o = await call("GET", `/orders/${id}?token=${encodeURIComponent(token)}`);
  if (o.status === "confirmed" && sessionStorage.returning === id) { delete sessionStorage.returning; forget(); }
  const action = o.payments.map((p) => p.next_action).find(Boolean);
  const open = o.status === "pending_payment" || (o.status === "confirmed" && o.fulfilment_status === "unfulfilled");
  const retry = o.status === "pending_payment" && ["failed", "voided", "none", "requires_action"].includes(o.payment_status);
  const row = (title, amount, sign = "") => amount?.amount ? `<tr><td colspan="2" class="number">${escape(title)}</td><td class="number">${sign}${money(amount)}</td></tr>` : "";
  const history = await call("GET", `/orders/${id}/events?token=${encodeURIComponent(token)}`);
  show(`<h1>Order ${escape(o.number)}</h1><p><span class="status" id="order-status">${escape(o.status)}</span> payment <span class="status">${escape(o.payment_status)}</span></p>
    ${retry ? `<p class="error">${o.payment_status === "failed" ? "The payment was declined." : "The order is not paid."} The units are held for you; pay with another card:</p><form id="pay" class="stack">${cards}<button>Pay ${money(o.totals.amount_due)}</button></form>` : ""}
    ${action ? `<p><a href="${escape(action.url)}">Confirm the payment at your bank</a></p>` : ""}
    <table><thead><tr><th>Product</th><th class="number">Quantity</th><th class="number">Total</th></tr></thead><tbody>
    ${o.lines.map((l) => `<tr><td>${escape(l.title)}</td><td class="number">${l.quantity}</td><td class="number">${money(l.total)}</td></tr>`).join("")}
    ${o.shipping_lines.map((l) => `<tr><td>${escape(l.title)}</td><td class="number">1</td><td class="number">${money(l.total)}</td></tr>`).join("")}
    ${o.discounts.map((d) => row(d.title, d.amount, "−")).join("")}${row(o.prices_include_tax ? "Tax (included)" : "Tax", o.totals.tax)}
    <tr><th colspan="2" class="number">Total</th><th class="number">${money(o.totals.total)}</th></tr>${row("Refunded", o.totals.refunded, "−")}</tbody></table>
    ${open ? `<p><button class="plain" id="cancel">Cancel this order</button></p>` : ""}<div id="said" role="status"></div>
    <h2>What happened</h2><ol>${history.items.map((e) => `<li>${escape(e.type)} <span class="soft">${escape(e.time)} · position ${Number(e.position)}</span></li>`).join("")}</ol>`);
  main.querySelector("#pay")?.addEventListener("submit", (event) => {
    event.preventDefault();
    call("POST", `/orders/${id}/payments?token=${encodeURIComponent(token)}`, { provider: "sandbox", token: event.target.token.value }).then(goOn)
      .catch((error) => { main.querySelector("#said").innerHTML = `<p class="error" role="alert">${escape(error.message)}</p>`; });
  });
  main.querySelector("#cancel")?.addEventListener("click", () => confirm("Cancel this order? What was paid goes back.") && call("POST", `/orders/${id}/cancel?token=${encodeURIComponent(token)}`, {}).then(() => orderPage(id))
    .catch((error) => { main.querySelector("#said").innerHTML = `<p class="error" role="alert">${escape(error.message)}</p>`; }));
  if (live?.id === id) return;
  live?.source.close();
  live = { id, source: new EventSource(`/v1/orders/${id}/live?token=${encodeURIComponent(token)}`) };
  let seen = o.read_position;
  live.source.addEventListener("order", (event) => { if (event.lastEventId !== seen) { seen = event.lastEventId; orderPage(id); } });
}

async function route() {
  try {
    const [path, query] = (location.hash.slice(1) || "/").split("?");
    const parts = path.split("/").filter(Boolean);
    if (!parts.length && !query && sessionStorage.returning) { location.hash = "#/order/" + sessionStorage.returning; return; }
    if (parts[0] !== "order") { live?.source.close(); live = null; }
    if (parts[0] === "p") await product(decodeURIComponent(parts[1]));
    else if (parts[0] === "cart") await cartPage();
    else if (parts[0] === "order") await orderPage(parts[1]);
    else { document.querySelector("#q").value = new URLSearchParams(query).get("q") || ""; await list(new URLSearchParams(query)); }
    main.focus({ preventScroll: true });
  } catch (error) { fail(error); }
}

state.store = await call("GET", "/store").catch(() => null);
if (!state.store) fail(new Error("The shop can't be reached. Reload the page in a moment."));
else {
  document.title = state.store.name;
  document.querySelector(".name").textContent = state.store.name;
  document.querySelector("#sandbox").hidden = !(state.store.payment_providers || []).some((p) => p.id === "sandbox");
  const languages = document.querySelector("#lang");
  languages.innerHTML = state.store.languages.map((l) => `<option ${l === state.lang ? "selected" : ""}>${escape(l)}</option>`).join("");
  languages.addEventListener("change", () => { state.lang = localStorage.lang = languages.value; document.documentElement.lang = state.lang; route(); });
  document.querySelector("#q").addEventListener("input", suggest);
  document.querySelector("#search").addEventListener("submit", (event) => { event.preventDefault(); location.hash = "#/?q=" + encodeURIComponent(document.querySelector("#q").value); });
  if (state.cart) call("GET", `/carts/${state.cart}`).then(count).catch(forget);
  addEventListener("hashchange", route);
  route();
}

// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const local = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const BANDS = { unlikely: "unlikely", on_the_fence: "on the fence", likely: "likely" };

/** Why a session was looked at when it was offered something: the kinds of moments. */
export const WHEN = {
  band: "its chance entered another band", trend: "its chance turned", quiet: "quiet with a full cart", hesitates: "it hesitates",
};

const STEPS = {
  page_view: "page", search: "search", view_item_list: "list of items", select_item: "chose an item",
  view_item: "item", add_to_wishlist: "wish list", add_to_cart: "into the cart", remove_from_cart: "out of the cart",
  view_cart: "cart", begin_checkout: "checkout", add_shipping_info: "shipping", add_payment_info: "payment",
  purchase: "purchase", refund: "refund",
};

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(Math.round(n)));

export const many = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

export function rate(n) {
  if (n === null || n === undefined) return "–";
  return n > 0 && n < 10 ? n.toFixed(1) : whole.format(Math.round(n));
}

/** A probability as a percentage: finer where it is small, as most are. */
export function percent(p) {
  if (p === null || p === undefined) return "–";
  const share = 100 * p;
  if (share < 0.1) return "<0.1%";
  return share < 10 ? `${share.toFixed(1)}%` : share > 99.9 ? ">99.9%" : `${share.toFixed(share > 99 ? 1 : 0)}%`;
}

/** A round percentage, as bounds are. */
export const bound = (p) => `${Number((100 * p).toFixed(1))}%`;

export function points(change) {
  if (change === null || change === undefined) return "";
  const shown = (100 * change).toFixed(1);
  return Number(shown) === 0 ? "±0.0" : change > 0 ? `+${shown}` : `−${shown.slice(1)}`;
}

export function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s < 1) return `${Math.round(1000 * s)} ms`;
  if (s < 100) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

export const decimals = (n, digits) => (n === null || n === undefined ? "–" : n.toFixed(digits));
export const shopTime = (ms) => `${day.format(ms)}, ${clock.format(ms)}`;
export const localTime = (ms) => local.format(ms);
export const step = (type) => STEPS[type] ?? type.replaceAll("_", " ");

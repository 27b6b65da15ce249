// stream-app: docs/collect.md
(() => {
  const tag = document.currentScript, set = tag.dataset, nav = navigator, store = localStorage,
    url = (set.url || new URL("/v1/events", tag.src)) + "?write_key=" + encodeURIComponent(set.key || ""),
    QUEUE = "sa_queue", CONSENT = "sa_consent",
    earlier = window.streamApp || [];
  let queue = [], sending, timer, fails = 0;

  const id = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), b => (b + 256).toString(16).slice(1)).join("");
  const cookie = (value, seconds) => {
    document.cookie = `sa_visitor=${value};path=/;max-age=${seconds};SameSite=Lax` +
      (location.protocol == "https:" ? ";Secure" : "");
    return value;
  };
  // 13 months from the last visit
  const visitor = () => cookie((document.cookie.match(/\bsa_visitor=(\w+)/) || [0, id()])[1], 34e6);
  const allowed = () => nav.doNotTrack != "1" && !nav.globalPrivacyControl &&
    (store.getItem(CONSENT) || ("consent" in set ? "0" : "1")) == "1";
  const keep = events => store.setItem(QUEUE, JSON.stringify(queue = events));
  const body = events => JSON.stringify({sent_at: Date.now(), events});
  const bare = address => address.split(/[?#]/)[0];
  const later = ms => { timer = timer || setTimeout(send, ms); };

  async function send() {
    timer = 0;
    if (sending || !queue[0] || !allowed()) return;
    sending = queue.slice(0, 50);
    let done, wait;
    try {
      // text: a browser does not ask first
      const answer = await fetch(url, {method: "POST", body: body(sending), keepalive: true, credentials: "omit"});
      wait = answer.headers.get("Retry-After");
      done = answer.status < 500 && ![408, 429].includes(answer.status);
    } catch {}
    if (done) keep(queue.filter(event => !sending.includes(event)));
    fails = done ? 0 : fails + 1;
    sending = 0;
    later(done ? 0 : 1e3 * (wait || Math.min(60, 2 ** (fails - 1))));
  }

  function track(type, fields) {
    if (!allowed()) return;
    const source = new URLSearchParams(location.search).get("utm_source"), from = document.referrer;
    keep([...queue, {
      event_id: id(), event_type: type, event_time: Date.now(), visitor_id: visitor(), page_url: bare(location.href),
      ...from && {referrer: bare(from)}, ...source && {source}, ...(/Mobi/.test(nav.userAgent) && {device: "mobile"}),
      ...fields
    }].slice(-200));
    later(0);
  }

  function consent(yes) {
    store.setItem(CONSENT, yes ? "1" : "0");
    if (yes) return track("page_view");
    keep([]);
    cookie("", 0);
  }

  const verbs = {track, consent, page: () => track("page_view")};
  window.streamApp = {push: ([verb, ...told]) => verbs[verb](...told)};
  addEventListener("pagehide", () => queue[0] && allowed() && nav.sendBeacon(url, body(queue)) && keep([]));
  if (allowed()) queue = JSON.parse(store.getItem(QUEUE)) || [];
  track("page_view");
  earlier.forEach(streamApp.push);
})();

// What the console does beside its pages, which work without it: keys, the operator's time zone, and a first page that moves under nobody's hands.
"use strict";
(() => {
  // The zone is kept in a cookie, so that the controller writes times in it from the next page on.
  const shown = document.querySelector("[data-zone]");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (shown && zone && shown.dataset.zone !== zone && sessionStorage.getItem("zone") !== zone) {
    sessionStorage.setItem("zone", zone);
    fetch("/zone", { method: "POST", body: new URLSearchParams({ zone }) }).then((answer) => {
      if (answer.ok && !document.querySelector("form :focus")) location.reload();
    });
  }

  // On a narrow screen the places do not all fit: the one where one is, is seen.
  const places = document.querySelector("nav.places");
  const here = places && places.querySelector("[aria-current]");
  if (here) places.scrollLeft = here.offsetLeft - (places.clientWidth - here.offsetWidth) / 2;

  // The page may be open for weeks: of what happened the last lines are kept.
  const MAX_LINES = 200;
  const feed = document.getElementById("feed");
  if (feed) {
    const trim = () => { while (feed.children.length > MAX_LINES) feed.lastElementChild.remove(); };
    new MutationObserver(trim).observe(feed, { childList: true });
  }

  // The board comes anew while somebody works with it. What is the same stays; the focus stays on what it was on; and nothing is exchanged
  // between the pressing of a button and its letting go, for that would be no click.
  const board = document.getElementById("board");
  if (board) {
    let last = "";
    let focused = null;
    let isPressed = false;
    let isDue = false;
    const alike = (href) => [...board.querySelectorAll("a")].filter((link) => link.getAttribute("href") === href);
    const letGo = () => {
      isPressed = false;
      if (isDue) setTimeout(() => htmx.trigger(board, "due"));
      isDue = false;
    };
    board.addEventListener("pointerdown", () => { isPressed = true; });
    document.addEventListener("pointerup", letGo);
    document.addEventListener("pointercancel", letGo);
    board.addEventListener("htmx:beforeSwap", (event) => {
      const { detail } = event;
      if (!detail.shouldSwap) return;
      if (isPressed || detail.serverResponse === last) {
        isDue = isPressed;
        detail.shouldSwap = false;
        return;
      }
      last = detail.serverResponse;
      const at = document.activeElement;
      const href = board.contains(at) ? at.getAttribute("href") : null;
      focused = href === null ? null : { href, which: alike(href).indexOf(at) };
    });
    board.addEventListener("htmx:afterSwap", () => {
      if (!focused) return;
      const all = alike(focused.href);
      const link = all[Math.min(focused.which, all.length - 1)] || document.getElementById("main");
      link.focus({ preventScroll: true });
      focused = null;
    });
  }

  const rows = () => [...document.querySelectorAll("[data-row]")];
  const step = (by) => {
    const all = rows();
    if (all.length === 0) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    const link = next.querySelector("a, button");
    if (link) link.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  // Single letters can be turned off (on the account's page).
  if (document.body.dataset.keys === "off") return;
  let leads = false;
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return;
    if (leads) {
      leads = false;
      const place = document.querySelector(`nav.places a[data-key="${CSS.escape(event.key)}"]`);
      if (place) {
        event.preventDefault();
        place.click();
      }
      return;
    }
    const search = document.getElementById("search");
    const keys = document.getElementById("keys");
    switch (event.key) {
      case "g":
        leads = true;
        setTimeout(() => { leads = false; }, 1500);
        break;
      case "/":
        if (search) { event.preventDefault(); search.focus(); }
        break;
      case "?":
        if (keys && !keys.open) keys.showModal();
        break;
      case "j": step(1); break;
      case "k": step(-1); break;
      default:
    }
  });
})();

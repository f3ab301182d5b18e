// What the console does beside its pages, which work without it: keys, the operator's time zone, and confirmations.
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

// Everything works without this: it counts what is chosen, asks before what can't be undone, and shows anew what goes on.
"use strict";
const boxes = [...document.querySelectorAll('input[name="chosen"]')];
const count = document.getElementById("chosen-count");
const say = () => { if (count) count.textContent = `${boxes.filter((box) => box.checked).length} chosen`; };
boxes.forEach((box) => box.addEventListener("change", say));
say();
document.querySelectorAll("button[data-confirm]").forEach((button) =>
  button.addEventListener("click", (event) => { if (!window.confirm(button.dataset.confirm)) event.preventDefault(); }));

// What goes on is fetched anew and put in place of what is shown; nothing else of the page changes under anybody's hands.
const later = (live) => setTimeout(refresh, Number(live.dataset.refresh) * 1000, live);
async function refresh(live) {
  if (document.hidden) return later(live);
  let fresh;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.status === 429 || answer.status >= 500) return later(live);
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(live.id);
  } catch { return later(live); }
  if (!fresh?.dataset.refresh) return location.reload(); // it is over, or the login is
  const busy = live.contains(document.activeElement) || !document.getSelection().isCollapsed;
  if (!busy) live.replaceWith(fresh);
  later(busy ? live : fresh);
}
document.querySelectorAll("[data-refresh]").forEach(later);

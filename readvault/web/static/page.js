// Everything works without this: it counts what is chosen, and asks before what can't be undone.
"use strict";
const boxes = [...document.querySelectorAll('input[name="chosen"]')];
const count = document.getElementById("chosen-count");
const say = () => { if (count) count.textContent = `${boxes.filter((box) => box.checked).length} chosen`; };
boxes.forEach((box) => box.addEventListener("change", say));
say();
document.querySelectorAll("button[data-confirm]").forEach((button) =>
  button.addEventListener("click", (event) => { if (!window.confirm(button.dataset.confirm)) event.preventDefault(); }));

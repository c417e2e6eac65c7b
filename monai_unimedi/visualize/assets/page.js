// Moves through slices, changes what lies over the images, enlarges an image, and picks findings on the maps.
"use strict";
const root = document.documentElement;
const numbers = (text) => (text || "").split(" ").filter(Boolean).map(Number);

function showSlice(scroll, slice) {
  scroll.style.setProperty("--slice", slice);
  for (const use of scroll.querySelectorAll(".outline use")) use.classList.toggle("on", Number(use.dataset.slice) === slice);
  const facts = ["slice " + slice];
  const scores = (scroll.dataset.scores || "").split("|");
  if (scores[slice]) facts.push("score " + scores[slice]);
  if (numbers(scroll.dataset.lesion).includes(slice)) facts.push("lesion");
  if (scroll.dataset.scores && numbers(scroll.dataset.chosen).includes(slice)) facts.push("chosen");
  for (const output of scroll.querySelectorAll("output.slice")) output.textContent = facts.join(" · ");
  for (const range of scroll.querySelectorAll("input.slices")) {
    range.value = slice;
    range.setAttribute("aria-valuetext", facts.join(", "));
  }
}

for (const range of document.querySelectorAll("input.slices")) showSlice(range.closest(".scroll"), Number(range.value));

document.addEventListener("input", (event) => {
  const target = event.target;
  if (target.matches("input.slices")) showSlice(target.closest(".scroll"), Number(target.value));
  if (target.id === "attention") root.style.setProperty("--attention", target.value / 100);
  if (target.id === "outline") root.style.setProperty("--outline", target.checked ? 1 : 0);
  if (target.id === "smooth") root.style.setProperty("--rendering", target.checked ? "auto" : "pixelated");
});

const enlarged = document.getElementById("enlarged");
document.addEventListener("click", (event) => {
  const enlarge = event.target.closest(".enlarge");
  if (enlarge && !enlarge.closest("dialog")) {
    const from = enlarge.closest(".scroll");
    const scroll = from.cloneNode(false);
    scroll.append(enlarge.closest(".stage").cloneNode(true));
    scroll.querySelector(".enlarge").remove();
    const range = from.querySelector("input.slices");
    if (range) scroll.append(range.cloneNode(true), Object.assign(document.createElement("output"), { className: "slice" }));
    const caption = Object.assign(document.createElement("p"), { textContent: scroll.querySelector(".stage").getAttribute("aria-label") });
    enlarged.querySelector(".place").replaceChildren(scroll, caption);
    if (range) showSlice(scroll, Number(range.value));
    enlarged.showModal();
  }
  if (event.target === enlarged) enlarged.close();
  const pick = event.target.closest(".pick");
  if (pick) {
    const on = pick.getAttribute("aria-pressed") !== "true";
    for (const other of document.querySelectorAll(".pick")) other.setAttribute("aria-pressed", String(other === pick && on));
    for (const point of document.querySelectorAll(".map [data-findings]")) {
      const has = point.dataset.findings.split(" ").includes(pick.dataset.finding);
      point.classList.toggle("faded", on && !has);
      point.style.fill = on && has ? getComputedStyle(pick).getPropertyValue("--colour") : "";
    }
  }
});

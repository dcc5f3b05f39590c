
"use strict";
// Says who is in a cell or box, on hovering, tapping and by keyboard. Everything else works without it.
(() => {
  const tip = document.getElementById("tip");
  const spots = [...document.querySelectorAll(".cell, .node")];
  const elites = JSON.parse(document.getElementById("elites").textContent); // id: [description, parents]
  const parents = new Map();
  let current = null;

  for (const spot of spots) {
    const title = spot.querySelector("title"), [text, own] = elites[spot.dataset.who] || ["", []];
    parents.set(spot, spot.dataset.parents === undefined ? own.map(String) : spot.dataset.parents.split(" "));
    spot.setAttribute("role", "img");
    spot.setAttribute("aria-label", title ? title.textContent : text);
    spot.setAttribute("tabindex", spot === spot.ownerSVGElement.querySelector(".cell, .node") ? "0" : "-1");
    if (title) title.remove(); // the browser would show it beside the tip
  }

  const blend = document.querySelector(".node.blend");
  if (blend) { // narrow screens begin at the merged model
    const scroll = blend.closest(".scroll"), box = blend.getBoundingClientRect();
    scroll.scrollLeft += box.left + box.width / 2 - scroll.getBoundingClientRect().left - scroll.clientWidth / 2;
  }

  const light = (spot) => {
    const who = spot && spot.dataset.who, own = spot ? parents.get(spot) : [];
    for (const other of spots) {
      const id = other.dataset.who;
      other.classList.toggle("same", spot !== null && id !== undefined && id === who);
      other.classList.toggle("parent", id !== undefined && id !== who && own.includes(id));
    }
  };
  const place = (spot) => {
    const box = spot.getBoundingClientRect(), own = tip.getBoundingClientRect(), gap = 8;
    const left = Math.min(Math.max(gap, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - gap);
    const above = box.top - own.height - gap;
    tip.style.left = `${Math.max(gap, left)}px`;
    tip.style.top = `${above > 0 ? above : box.bottom + gap}px`;
  };
  const show = (spot) => {
    if (spot === current) return;
    current = spot;
    light(spot);
    tip.hidden = spot === null;
    if (spot === null) return;
    tip.textContent = spot.getAttribute("aria-label");
    place(spot);
  };
  const spotOf = (event) => (event.target instanceof Element ? event.target.closest(".cell, .node") : null);

  document.addEventListener("pointerover", (event) => show(spotOf(event)));
  document.addEventListener("click", (event) => show(spotOf(event)));
  document.addEventListener("focusin", (event) => show(spotOf(event)));
  document.addEventListener("focusout", () => show(null));
  document.addEventListener("scroll", () => current && place(current), { capture: true, passive: true });

  // One tab stop per picture; the arrow keys go to the nearest spot in their direction.
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const centre = (spot) => {
    const box = spot.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  document.addEventListener("keydown", (event) => {
    const spot = spotOf(event), direction = directions[event.key];
    if (event.key === "Escape") show(null);
    if (!spot || !direction) return;
    event.preventDefault();
    const [x, y] = centre(spot), [dx, dy] = direction;
    let best = null, least = Infinity;
    for (const other of spot.closest("svg").querySelectorAll(".cell, .node")) {
      const [u, v] = centre(other);
      const along = (u - x) * dx + (v - y) * dy, aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (along > 1 && along + 2 * aside < least) [best, least] = [other, along + 2 * aside];
    }
    if (!best) return;
    spot.setAttribute("tabindex", "-1");
    best.setAttribute("tabindex", "0");
    best.focus();
  });

  // Paper has no folds.
  addEventListener("beforeprint", () => {
    show(null);
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.dataset.folded = "";
      details.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const details of document.querySelectorAll("details[data-folded]")) {
      details.removeAttribute("data-folded");
      details.open = false;
    }
  });
})();

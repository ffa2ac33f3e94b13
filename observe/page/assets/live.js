// Puts the present page into the place of the one that is shown, every two seconds while
// somebody looks. Without this script the browser loads the page anew.
"use strict";

const every = 2000;

async function renew() {
  const answer = await fetch(location.pathname, {cache: "no-store"});
  if (!answer.ok) {
    throw new Error(answer.statusText);
  }
  const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  for (const details of document.querySelectorAll("details[open]")) {
    const same = next.querySelector("#" + CSS.escape(details.id));
    if (same) {
      same.open = true;
    }
  }
  document.querySelector("main").replaceWith(next);
}

async function loop() {
  if (!document.hidden && getSelection().isCollapsed) {
    try {
      await renew();
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  setTimeout(loop, every);
}

setTimeout(loop, every);

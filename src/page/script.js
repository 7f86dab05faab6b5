
"use strict";
(() => {
  const every = 5000;
  let wanted = true;
  const local = (root) => {
    const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
    const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
    for (const time of root.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.valueOf())) time.textContent = (time.id === "as-of" ? exact : short).format(at);
    }
  };
  const inUse = () => {
    const main = document.getElementById("main");
    const chosen = document.getSelection();
    return (chosen && !chosen.isCollapsed) || (document.activeElement && main.contains(document.activeElement));
  };
  const update = async () => {
    if (!wanted || document.hidden || inUse()) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!wanted || inUse()) return;
    local(fresh);
    for (const open of document.querySelectorAll("details[open]")) {
      const same = fresh.getElementById(open.id);
      if (same) same.open = true;
    }
    for (const part of ["#main", "header", "#as-of", "link[rel=icon]"]) {
      const [old, next] = [document.querySelector(part), fresh.querySelector(part)];
      if (old && next) old.replaceWith(document.adoptNode(next));
    }
    document.title = fresh.title;
  };
  const note = document.getElementById("refresh");
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  box.addEventListener("change", () => { wanted = box.checked; });
  const state = document.createElement("span");
  label.append(box, " Update every 5 seconds");
  note.replaceChildren(label, state);
  local(document);
  setInterval(() => {
    update().then(() => { state.textContent = ""; }, () => { state.textContent = " hermes-proxyd does not answer."; });
  }, every);
})();

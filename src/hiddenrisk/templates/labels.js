"use strict";
const sets = [...document.querySelectorAll("fieldset")];
const count = document.getElementById("count");
const who = document.getElementById("who");
let unsaved = false;

const chosen = (set) => set.querySelector("input:checked");

function tell() {
  const done = sets.filter(chosen).length;
  count.textContent = `${done} of ${sets.length} labelled` + (unsaved ? ", not saved" : "");
}

// A name is free text: quoted, and kept from being a formula.
const cell = (text) => '"' + text.replace(/^\s*[=+\-@]/, "'$&").replaceAll('"', '""') + '"';

function save() {
  const rows = sets.filter(chosen).map((set) => [set.dataset.id, chosen(set).value, who.value.trim()]);
  const lines = [["id", "label", "who"], ...rows].map((row) => row.map(cell).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
  tell();
}

function go(set, step) {
  const next = sets[set ? sets.indexOf(set) + step : 0];
  if (!next) return;
  next.querySelector("summary").focus();
  next.scrollIntoView({ block: "nearest" });
}

function press(event) {
  const typing = event.target.matches('input[type="text"]');
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const set = event.target.closest("fieldset");
  if (event.key === "n" || event.key === "p") return go(set, event.key === "n" ? 1 : -1);
  const radio = set && set.querySelectorAll("input")[Number(event.key) - 1];
  if (radio) {
    radio.click();
    radio.focus();
  }
}

document.addEventListener("change", (event) => {
  unsaved = unsaved || event.target.type === "radio";
  tell();
});
document.addEventListener("keydown", press);
document.getElementById("save").addEventListener("click", save);
window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
document.querySelectorAll("[hidden]").forEach((element) => (element.hidden = false));
tell();

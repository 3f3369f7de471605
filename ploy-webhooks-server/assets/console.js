// What pages do beyond forms and links: copy buttons, and the list of events as they come.
// What comes over the wire is put in as text, never as markup.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const told = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without TLS there is no clipboard: what is selected can be copied by hand.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = told; }, 1500);
  });
}

// On a narrow screen the sections stand in one line: where one is, is shown.
document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const ROWS_MAX = 50;
const HELD_MAX = 500;

// The signs that the server shows in the place of control characters.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const visible = (text) => String(text).replace(CONTROL, (sign) => {
  const code = sign.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
});

const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = visible(text);
  if (className) made.className = className;
  return made;
};

const cell = (row, label, content, className) => {
  const made = element("td", undefined, className);
  made.dataset.label = label;
  made.append(content);
  row.append(made);
  return made;
};

const TONES = {
  succeeded: "good", failed: "bad", running: "busy", retrying: "busy",
};

const follow = (tail) => {
  const rows = document.getElementById("tail-rows");
  const state = document.getElementById("tail-state");
  const hold = document.getElementById("tail-hold");
  const { endpoint, type } = tail.dataset;
  const known = new Map();
  let held = null;
  let missed = 0;

  const accepted = (event) => {
    if (endpoint && event.endpoint_id !== endpoint) return;
    if (type && event.type !== type) return;
    if (known.has(event.id)) return;
    const row = document.createElement("tr");
    const time = element("time", event.received_at.replace("T", " ").replace(/\..*$/, ""));
    time.dateTime = event.received_at;
    cell(row, "Received", time);
    const link = element("a", event.id, "id");
    link.href = "/console/events/" + encodeURIComponent(event.id);
    cell(row, "Event", link);
    cell(row, "Type", event.type ? element("bdi", event.type) : element("span", "none", "soft"));
    const runs = cell(row, "Runs", "");
    cell(row, "Bytes", String(event.size), "num");
    known.set(event.id, { row, runs, badges: new Map() });
    rows.prepend(row);
    while (rows.rows.length > ROWS_MAX) {
      const last = rows.rows[rows.rows.length - 1];
      for (const [id, shown] of known) if (shown.row === last) known.delete(id);
      last.remove();
    }
  };

  const run = (change) => {
    const shown = known.get(change.event_id);
    if (!shown) return;
    let badge = shown.badges.get(change.id);
    if (!badge) {
      badge = element("a");
      badge.href = "/console/runs/" + encodeURIComponent(change.id);
      shown.badges.set(change.id, badge);
      shown.runs.append(badge, " ");
    }
    badge.textContent = visible(change.state);
    badge.className = "badge " + (TONES[change.state] ?? "quiet");
  };

  const take = (show) => (message) => {
    let data;
    try { data = JSON.parse(message.data); } catch { return; }
    if (held === null) { show(data); return; }
    held.push(() => show(data));
    if (held.length > HELD_MAX) { held.shift(); missed += 1; }
    state.textContent = `Held: ${held.length} waiting` + (missed ? `, ${missed} dropped` : "");
  };

  hold.addEventListener("click", () => {
    if (held === null) {
      held = [];
      state.textContent = "Held";
    } else {
      const waiting = held;
      held = null;
      missed = 0;
      waiting.forEach((show) => show());
      state.textContent = "Following";
    }
    hold.setAttribute("aria-pressed", String(held !== null));
    hold.textContent = held === null ? "Hold" : "Go on";
  });

  const source = new EventSource(tail.dataset.stream);
  source.addEventListener("open", () => {
    tail.hidden = false;
    if (held === null) state.textContent = "Following";
  });
  source.addEventListener("accepted", take(accepted));
  source.addEventListener("run", take(run));
  source.addEventListener("gap", () => {
    state.textContent = "Some are missing here: more came than were kept. Load the page again";
  });
  source.addEventListener("error", () => {
    // A browser connects again by itself, unless it was told no.
    const isOver = source.readyState === EventSource.CLOSED;
    state.textContent = isOver ? "Not followed: load the page again to see what is new"
      : "Connecting again…";
  });
};

const tail = document.getElementById("tail");
if (tail) follow(tail);

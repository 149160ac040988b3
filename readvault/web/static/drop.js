// Delivers files through a drop link: straight to S3, large ones in parts, going on where they were cut off.
// The link's token stands behind the # of the address, which no browser sends; it is kept for this tab alone.
const TRIES = 4;
const AT_ONCE = 3;
const HASHED_UP_TO = 64e6;
const state = document.getElementById("state");
const form = document.getElementById("drop");
const list = document.getElementById("list");
const category = document.getElementById("category");

const token = (() => {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem("drop", given);
    history.replaceState(null, "", location.pathname);
  }
  return given || sessionStorage.getItem("drop") || "";
})();

const say = (text, kind) => { state.textContent = text; state.className = kind; };
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const readable = (bytes) => {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) { bytes /= 1000; power += 1; }
  return `${power ? bytes.toFixed(1) : bytes} ${units[power]}`;
};

class Refused extends Error {}

const ask = async (method, path, fields) => {
  const body = fields === undefined ? undefined : new URLSearchParams(fields);
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(`/drop${path}`, { method, body, headers: { Authorization: `Bearer ${token}` } });
    } catch (lost) {
      if (attempt === TRIES) throw lost;
      await sleep(attempt);
      continue;
    }
    if (answer.ok) return answer.json();
    if ((answer.status >= 500 || answer.status === 429) && attempt < TRIES) { await sleep(2 * attempt); continue; }
    const told = await answer.json().catch(() => ({}));
    throw new Refused(told.detail || `The server answered ${answer.status}.`);
  }
};

// fetch can't tell how much of a body is sent.
const put = (request, bytes, sent) => new Promise((done, failed) => {
  const sending = new XMLHttpRequest();
  sending.open("PUT", request.url);
  for (const [name, value] of Object.entries(request.headers)) {
    if (name !== "Content-Length") sending.setRequestHeader(name, value);
  }
  sending.upload.onprogress = (event) => sent(event.loaded);
  sending.onload = () => (sending.status < 300 ? done() : failed(Object.assign(new Error(), { status: sending.status })));
  sending.onerror = () => failed(Object.assign(new Error(), { status: 0 }));
  sending.send(bytes);
});

const sha256 = async (file) => {
  if (!window.crypto || !crypto.subtle || file.size > HASHED_UP_TO) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};

// What was begun, so that the same file goes on after the page was closed: a name of the server's, no secret.
const begun = {
  key: (file) => `drop ${token.slice(-6)} ${file.name} ${file.size} ${file.lastModified}`,
  get: (file) => localStorage.getItem(begun.key(file)),
  set: (file, name) => localStorage.setItem(begun.key(file), name),
  end: (file) => localStorage.removeItem(begun.key(file)),
};

const announce = async (file, parts) => {
  const fields = { name: file.name.normalize("NFC").replace(/\s+/g, "_"), size: file.size, multipart: parts };
  if (category.value) fields.category = category.value;
  const hash = parts ? null : await sha256(file);
  if (hash) fields.sha256 = hash;
  return ask("POST", "/files", fields);
};

const inOnePiece = async (file, shown) => {
  const ticket = await announce(file, false);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const request = attempt === 1 ? ticket.put : await ask("POST", `/files/${ticket.objectName}/url`, {});
      await put(request, file, shown);
    } catch (fault) {
      if (fault instanceof Refused || (attempt === TRIES && fault.status !== 412)) throw fault;
      if (fault.status !== 412) { await sleep(2 * attempt); continue; } // 412: an earlier try did arrive
    }
    return ask("POST", `/files/${ticket.objectName}/complete`, {});
  }
};

const sendPart = async (name, file, size, number, shown) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const [request] = await ask("POST", `/files/${name}/parts`, { numbers: number });
      return await put(request, file.slice((number - 1) * size, number * size), shown);
    } catch (fault) {
      if (fault instanceof Refused || attempt === TRIES) throw fault;
      await sleep(2 * attempt);
    }
  }
};

const inParts = async (file, shown) => {
  let name = begun.get(file);
  let known = name ? await ask("GET", `/files/${name}`).catch(() => null) : null;
  if (!known) {
    const ticket = await announce(file, true);
    name = ticket.objectName;
    begun.set(file, name);
    known = await ask("GET", `/files/${name}`);
  }
  if (known.state === "delivered") { begun.end(file); return; }
  const waiting = [...known.missing];
  const underWay = new Map();
  let whole = (known.partCount - waiting.length) * known.partSize;
  const tell = () => shown(Math.min(file.size, whole + [...underWay.values()].reduce((sum, sent) => sum + sent, 0)));
  const send = async () => {
    while (waiting.length) {
      const number = waiting.shift();
      await sendPart(name, file, known.partSize, number, (sent) => { underWay.set(number, sent); tell(); });
      underWay.delete(number);
      whole += known.partSize;
      tell();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, send));
  await ask("POST", `/files/${name}/complete`, {});
  begun.end(file);
};

const deliver = async (file, partsFrom, row) => {
  row.say("sending");
  row.again.hidden = true;
  try {
    await (file.size >= partsFrom ? inParts : inOnePiece)(file, row.shown);
    row.shown(file.size);
    row.say("delivered", "NO_ISSUES");
  } catch (fault) {
    row.say(fault instanceof Refused ? fault.message : "The connection broke.", "HAS_ERRORS");
    row.again.hidden = false;
  }
};

const rowOf = (file, again) => {
  const row = document.createElement("li");
  const name = document.createElement("bdi");
  const progress = document.createElement("progress");
  const told = document.createElement("span");
  const button = document.createElement("button");
  row.className = "card";
  name.textContent = `${file.name} (${readable(file.size)})`;
  progress.max = file.size || 1;
  progress.value = 0;
  progress.setAttribute("aria-label", `How much of ${file.name} is sent`);
  told.setAttribute("role", "status");
  button.type = "button";
  button.textContent = "Go on";
  button.hidden = true;
  button.addEventListener("click", again);
  row.append(name, progress, told, button);
  list.append(row);
  return {
    again: button,
    shown: (sent) => { progress.value = sent; },
    say: (text, kind = "") => { told.textContent = text; told.className = `badge ${kind}`; },
  };
};

const start = async () => {
  if (!token) { say("This address lacks the part behind the #. Open the whole link that you were given.", "problem"); return; }
  let purpose;
  try {
    purpose = await ask("GET", "");
  } catch (fault) {
    say(fault instanceof Refused ? fault.message : "The server can't be reached. Please try again.", "problem");
    return;
  }
  const formats = purpose.formats ? `${purpose.formats.join(", ")} files` : "Files";
  document.getElementById("purpose").textContent =
    `${formats} of up to ${readable(purpose.largestFile)}, until ${purpose.expiresAt.slice(0, 16).replace("T", " ")} UTC.`;
  if (purpose.categories.length > 1) {
    category.append(new Option("not said", ""), ...purpose.categories.map((each) => new Option(each, each)));
  } else {
    document.querySelectorAll(".for-category").forEach((each) => { each.hidden = true; });
  }
  // One file after the other: parts of one are sent side by side.
  let queue = Promise.resolve();
  const take = (files) => [...files].forEach((file) => {
    const next = () => { queue = queue.then(() => deliver(file, purpose.partsFrom, row)); };
    const row = rowOf(file, next);
    row.say("waiting");
    next();
  });
  const input = document.getElementById("files");
  input.addEventListener("change", () => { take(input.files); input.value = ""; });
  const target = document.getElementById("target");
  ["dragover", "drop"].forEach((kind) => document.addEventListener(kind, (event) => event.preventDefault()));
  target.addEventListener("dragenter", () => target.classList.add("over"));
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  document.addEventListener("drop", (event) => { target.classList.remove("over"); take(event.dataTransfer.files); });
  form.hidden = false;
  say("Your link is good.", "said");
};
start();
